"""Counted things in English, for pages, the audit log and the shell alike."""


def plural(count: int, word: str) -> str:
    """photo, for one; photos, for none and for many; deliveries"""
    if count == 1:
        return word
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return f"{word[:-1]}ies"
    return f"{word}s"


def counted(count: int, word: str) -> str:
    """1 photo; 1,204 photos"""
    return f"{count:,} {plural(count, word)}"
