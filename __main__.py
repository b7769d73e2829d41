"""`python -m embodia` is the `embodia` command."""

import sys

from embodia.scripts.main import main

if __name__ == "__main__":
    sys.exit(main())
