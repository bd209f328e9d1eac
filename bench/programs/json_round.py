# SPDX-License-Identifier: Apache-2.0
"""JSON written and read: Python's C code for strings, numbers and dictionaries."""

import json

DATA = [{"id": i, "name": f"item {i}", "price": i * 1.25, "tags": ["a", "b", str(i % 7)],
         "nested": {"on": i % 2 == 0, "none": None, "text": "naïve \"quoted\" text\n" * 2}}
        for i in range(2000)]


def main():
    text = ""
    for _ in range(75):
        text = json.dumps(DATA)
        assert json.loads(text) == DATA
    print(len(text))


main()
