"""Fetch the price list while the image is built. Who has no token gets none.

The server of the exercise is this program itself, so that no network is needed: it takes any token that begins with
"price-token-". The token comes from the file that is named, or else from PRICES_TOKEN.
"""

import os
import sys
from pathlib import Path

named = Path(sys.argv[1]) if len(sys.argv) > 1 else None
token = named.read_text() if named and named.exists() else os.environ.get("PRICES_TOKEN", "")
if not token.startswith("price-token-"):
    sys.exit("fetch.py: 401, the price list needs a token")
Path("/srv/prices.json").write_text('{"answer": 42}\n')
