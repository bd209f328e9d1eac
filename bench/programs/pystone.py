# SPDX-License-Identifier: Apache-2.0
"""Python as programs use it: objects, calls, lists, dictionaries, strings."""


class Record:
    def __init__(self, kind, number, text):
        self.kind, self.number, self.text = kind, number, text
        self.next = None

    def copy(self):
        other = Record(self.kind, self.number, self.text)
        other.next = self.next
        return other


def chain(length):
    head = None
    for i in range(length):
        record = Record("even" if i % 2 == 0 else "odd", i, f"record {i}")
        record.next = head
        head = record.copy()
    return head


def total(head, counts):
    result = 0
    while head is not None:
        counts[head.kind] = counts.get(head.kind, 0) + 1
        result += len(head.text) * head.number
        head = head.next
    return result


def sort_words(seed, count):
    words = []
    for _ in range(count):
        seed = (seed * 1103515245 + 12345) % (1 << 31)
        words.append("".join(chr(97 + (seed >> shift) % 26) for shift in (3, 7, 11, 15)))
    words.sort(key=lambda word: (word[::-1], len(word)))
    return words[count // 2]


def main():
    counts, result = {}, 0
    for turn in range(250):
        result += total(chain(2000), counts)
    print(result, sorted(counts.items()), sort_words(7, 160000))


main()
