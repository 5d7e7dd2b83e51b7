"""What every test shares. Knows hypothesis' settings; must not know any part of the product."""

import os

from hypothesis import settings

# Two cores are shared by many: a deadline would measure the neighbours. In CI the same commit draws the same examples.
settings.register_profile("desk", deadline=None, print_blob=True)
settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "desk")
