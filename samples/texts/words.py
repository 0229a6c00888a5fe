"""What the pictures say: short lines of words, numbers, prices, dates and addresses, always the same for a seed."""

from __future__ import annotations

import numpy as np

_WORDS = (  # noqa: SIM905 - lines of words are read more easily than a list of them
    "about above across address answer arrive autumn balance before bridge bright button camera carbon careful centre "
    "change circle clear coffee common copper corner cotton cover daily danger delivery double dozen early eastern "
    "engine evening every exit figure final flower forest fresh garden general glass golden grain green harbour heavy "
    "history holiday hotel hour iron island journey kitchen large ladder letter level library light limit little "
    "machine market meadow measure middle minute mirror model morning mountain narrow nature number office orange "
    "order paper parcel people picture platform please point power price quarter quiet railway receipt record "
    "reserved river road round school season second service shadow silver simple sleeve small smooth south spring "
    "square station stone street summer supply table ticket timber tomorrow tower train turn under upper valley "
    "vessel village visit water weather weight western window winter winner wooden yellow zone"
).split()


def line(random: np.random.Generator, most: int = 4) -> str:
    """Two to ``most`` words, or one of the other kinds: letters, digits and common punctuation, single spaces."""
    kind = random.choice(["words", "words", "words", "capitals", "price", "date", "address", "number"])
    words = [str(word) for word in random.choice(_WORDS, int(random.integers(2, most + 1)), replace=False)]
    if kind == "words":
        return " ".join([words[0].capitalize(), *words[1:]]) + str(random.choice(["", "", ".", "?", "!"]))
    if kind == "capitals":
        return " ".join(words).upper()
    if kind == "price":
        return f"{words[0].capitalize()} {random.integers(1, 999)}.{random.integers(10, 99)} EUR"
    if kind == "date":
        return (
            f"{words[0].capitalize()} {2000 + random.integers(60)}-{random.integers(10, 13)}-{random.integers(10, 29)}"
        )
    if kind == "address":
        return f"{words[0]}@{words[1]}.org"
    return f"No. {random.integers(1000, 9999)}-{random.integers(10, 99)}/{random.integers(2, 9)}"
