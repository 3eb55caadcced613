"""V-IRL navigation: routes through streets, real ones from files and drawn ones (dissertation, section 5.4, appendix D.2)."""

from keepsight.envs.virl.navigation import Navigation

__all__ = ["Navigation"]
