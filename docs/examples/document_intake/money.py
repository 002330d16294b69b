"""Read amounts of money as people write them, exactly: integer minor units, no floats."""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import TypedDict

MINOR_DIGITS = {
    "AUD": 2, "BRL": 2, "CAD": 2, "CHF": 2, "CNY": 2, "CZK": 2, "DKK": 2, "EUR": 2, "GBP": 2, "INR": 2, "JPY": 0,
    "KRW": 0, "NOK": 2, "NZD": 2, "PLN": 2, "SEK": 2, "USD": 2, "ZAR": 2,
}  # fmt: skip
LARGEST = 10**17  # minor units; above it stands no amount but a mistake, and below it a 64-bit column holds the sum

_SYMBOLS = {
    "US$": "USD", "A$": "AUD", "C$": "CAD", "R$": "BRL", "$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR",
    "₩": "KRW", "zł": "PLN", "kr": "NOK", "euros": "EUR", "euro": "EUR", "dollars": "USD", "pounds": "GBP",
}  # fmt: skip
_CURRENCIES = {**_SYMBOLS, **{code: code for code in MINOR_DIGITS}}
_POWERS = {"thousand": 3, "k": 3, "million": 6, "mn": 6, "m": 6, "billion": 9, "bn": 9, "b": 9}

_GAP = " \u00a0\u202f"
_CURRENCY = rf"(?:{'|'.join(re.escape(name) for name in sorted(_CURRENCIES, key=len, reverse=True))})"
_NUMBER = rf"[0-9]{{1,15}}(?:[{_GAP}][0-9]{{3}}(?![0-9])){{0,4}}(?:[.,'’][0-9]{{1,6}}){{0,5}}(?![0-9]|[.,'’][0-9])"
_POWER = rf"[{_GAP}]?(?:thousand|million|billion|mn|bn|[kmb])(?!\w)"
_BEFORE = rf"(?<![\w$]){_CURRENCY}[{_GAP}]?[-−]?(?P<first>{_NUMBER})(?P<power>{_POWER})?"
_AFTER = rf"(?<![\w.,'’$€£])(?P<second>{_NUMBER})(?P<power_after>{_POWER})?[{_GAP}]?{_CURRENCY}(?!\w)"
_AMOUNT = re.compile(rf"(?:(?<![\w)])[-−])?(?:{_BEFORE}|{_AFTER})")
_SIGN = re.compile("[-−]")
_NAME = re.compile(_CURRENCY)

_GROUPED = re.compile(
    rf"([0-9]{{1,3}}(?P<gap>[.,'’{_GAP}])[0-9]{{3}}(?:(?P=gap)[0-9]{{3}})*)(?:(?!(?P=gap))[.,]([0-9]{{1,2}}))?"
)
_PLAIN = re.compile(r"([0-9]+)(?:[.,]([0-9]{1,2}))?")
_NOT_DIGITS = re.compile(r"[^0-9]")


class Amount(TypedDict):
    """An amount: as written, in minor units of its currency (cents, pence; negative for a credit), and the currency."""

    text: str
    minor: int
    currency: str


def amounts_in(text: str) -> Iterator[Amount]:
    """Yield every amount with a currency, in the order of the text.

    Reads ``£1,234.50``, ``1.234,50 €``, ``CHF 1'234.50``, ``kr 560 000``, ``-$20`` and ``€1.5 million``. A separator
    before exactly three digits groups thousands. ``$`` is read as US dollars, ``kr`` as Norwegian kroner. A number
    finer than the currency's minor unit (``€0.0725``) is a rate, not an amount, and is left out.
    """
    for match in _AMOUNT.finditer(text):
        whole = match.group()
        currency = _currency_of(whole)
        power = (match.group("power") or match.group("power_after") or "").strip()
        minor = _minor(match.group("first") or match.group("second"), _POWERS.get(power, 0), currency)
        if minor is not None:
            yield Amount(text=whole, minor=-minor if _SIGN.search(whole) else minor, currency=currency)


def _currency_of(whole: str) -> str:
    name = _NAME.search(whole)
    return _CURRENCIES[name.group()] if name else ""


def _minor(number: str, power: int, currency: str) -> int | None:
    value = _value(number)
    if value is None:
        return None
    scaled = value.scaleb(power + MINOR_DIGITS[currency])
    return int(scaled) if scaled == scaled.to_integral_value() and scaled <= LARGEST else None


def _value(number: str) -> Decimal | None:
    match = _GROUPED.fullmatch(number) or _PLAIN.fullmatch(number)
    if match is None:
        return None
    fraction = match.groups()[-1] or "0"
    return Decimal(f"{_NOT_DIGITS.sub('', match.group(1))}.{fraction}")
