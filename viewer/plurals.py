"""English plurals, for pages, the audit log and the command line."""


def plural(count: int, word: str) -> str:
    """photo for 1; photos or deliveries for 0 and many."""
    if count == 1:
        return word
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return f"{word[:-1]}ies"
    return f"{word}s"


def counted(count: int, word: str) -> str:
    """Such as `1 photo` or `1,204 photos`."""
    return f"{count:,} {plural(count, word)}"
