"""Arguments with which an environment keeps its rules and takes less time: small pictures, few games."""

QUICK = {"virl": {"resolution": 32}, "alfworld": {"games": 12}}
FEW = {
    "alfworld": 6,
    "virl": 6,
}  # episodes: TextWorld's engine takes milliseconds a step, a street view to draw a hundred
