"""Settings of every folder's tests."""

from __future__ import annotations

from hypothesis import settings
from thoroughness import quick_or

# How long an example takes says how busy the machine is.
settings.register_profile("quick", deadline=None)
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile(quick_or("quick", "thorough"))
