"""Good manners of numerical threads: waiting ones sleep instead of spinning.

OpenMP's default lets idle threads spin. On a machine with a busy neighbour that made one LightGBM fit of six seconds take over a minute
(two cores); asleep, it took five seconds. A library reads the setting when it is loaded, so this runs before each import of one.
"""

from __future__ import annotations

import os


def wait_asleep() -> None:
    """Sets OMP_WAIT_POLICY=PASSIVE for libraries loaded from now on, unless the user has set it."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
