#!/usr/bin/env python3
"""Django's command line for the example."""

import os
import sys
from pathlib import Path

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the folder that holds the package, not the package
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "order_desk.settings")
    execute_from_command_line(sys.argv)
