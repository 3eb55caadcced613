"""To and from other programs: logs of lm-eval, lmms-eval and Inspect read, CSV, LaTeX and Inspect's logs written."""

from keepsight.exchange.exporting import FORMATS, export
from keepsight.exchange.importing import Imported, import_logs

__all__ = ["FORMATS", "Imported", "export", "import_logs"]
