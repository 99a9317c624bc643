"""`python -m mirai` is `python -m mirai.launch`."""

from __future__ import annotations

import sys

from mirai.launch import main

sys.exit(main())
