"""Ten thousand strings, the same every time: random characters, many languages, and what clean-up has to mend."""

# ruff: noqa: RUF001 (ambiguous characters are the point)
import random

_SCRIPTS = (
    (0x20, 0x7E),  # ASCII
    (0xA0, 0x24F),  # Latin
    (0x370, 0x52F),  # Greek, Cyrillic
    (0x590, 0x6FF),  # Hebrew, Arabic
    (0x900, 0x97F),  # Devanagari
    (0xE00, 0xE7F),  # Thai
    (0x3040, 0x30FF),  # Japanese
    (0x4E00, 0x9FFF),  # Chinese
    (0xAC00, 0xD7A3),  # Korean
    (0x1F300, 0x1FAFF),  # pictures
)
_SENTENCES = (
    "A woman with curly hair, smiling; she's wearing glasses.",
    "Une femme aux cheveux bouclés, l’air étonné",
    "Ein Mann mit Bart trägt eine weiße Mütze",
    "Человек в шляпе улыбается",
    "Ο ΆΝΔΡΑΣ ΧΑΜΟΓΕΛΆ",
    "पुरुष जो मुस्कुरा रहा है",
    "رجل يبتسم ويرتدي نظارة",
    "笑っている女性の写真です。",
    "一个戴眼镜的年轻女子",
    "안경을 쓴 젊은 여자",
    "ผู้หญิงกำลังยิ้ม",
    "İstanbul'da gülümseyen kız",
)
_ODDITIES = (
    *(
        "It’S ",
        "“quoted” ",
        "&amp;",
        "&lt;b&gt;",
        "&#769;",
        "ﬁ",
        "Ｗｉｄｅ",
        "\u2028",
        "\x0b",
        "\x7f",
        "\t\n",
        "'ſ",
        "K",
    ),
    *(
        "e\u0301",
        "é",
        "ΟΔΟΣ",
        "12.5",
        "🙂",
        "👩🏽\u200d🦰",
        "\x1b[31m",
        "cafÃ©",
        "''s",
        "!'s",
        "\u0345",
        "\ufeff",
        "…",
        "©",
    ),
)


def _random_characters(rng):
    if rng.random() < 0.3:
        codes = [
            rng.choice((rng.randint(0, 0xD7FF), rng.randint(0xE000, 0x10FFFF))) for _ in range(rng.randint(0, 40))
        ]
    else:
        codes = [rng.randint(*rng.choice(_SCRIPTS)) for _ in range(rng.randint(0, 60))]
    return "".join(map(chr, codes))


def _sentence(rng, oddities):
    words = rng.choice(_SENTENCES).split() + [rng.choice(oddities) for _ in range(rng.randint(0, 4))]
    rng.shuffle(words)
    words = [rng.choice((str, str.upper, str.title))(word) for word in words]
    return rng.choice((" ", "  ", "")).join(words) * rng.choice((1, 1, 1, 12))


def random_texts(number=10_000, seed=0):
    """Half of them random characters of every plane, half sentences of many languages mixed with oddities."""
    rng = random.Random(seed)
    return [_random_characters(rng) if index % 2 else _sentence(rng, _ODDITIES) for index in range(number)]


def well_decoded_texts(number=3_000, seed=1):
    """Sentences of many languages with typographic quotes, entities, ligatures and the like, decoded correctly."""
    rng = random.Random(seed)
    return [_sentence(rng, _ODDITIES[:14] + _ODDITIES[15:18]) for _ in range(number)]
