"""Consistent renaming of a story's people, which gives a small corpus more than one reading of each story."""

import re

GIRLS = """Lily Sue Lucy Mia Amy Sally Jane Sarah Bella Molly Anna Mary Penny Emma Ella Kate Polly Sara Lola Emily
Jenny Sophie Ann Zara Julie Ellie Tilly Lisa Rosie Rachel Jenna Sophia Nina Clara Ruby Alice Maya Nora Lena Tara""".split()
BOYS = """Tim Timmy Tom Sam Bob Jack Ben Billy Leo John Joe Andy Fred Tommy James Thomas Pete Johnny Bobby Peter Todd
Jake Tony Finn Alex Oliver Mark Gary Freddy Charlie Noah Adam Luke Paul Henry Danny Eddie George Harry Simon""".split()
GROUP = {name: group for group in (GIRLS, BOYS) for name in group}
PATTERN = re.compile(r'\b(' + '|'.join(sorted(GROUP, key=len, reverse=True)) + r')\b')


def swap_names(text, rng):
    """`text` with each listed first name replaced, everywhere, by another of its group which `text` does not hold."""
    present = set(PATTERN.findall(text))
    taken = set(present)
    mapping = {}
    for name in sorted(present):
        choice = rng.choice([other for other in GROUP[name] if other not in taken])
        taken.add(choice)
        mapping[name] = choice
    return PATTERN.sub(lambda match: mapping[match.group(1)], text)
