"""The words of the sample company: descriptions in the scripts of its offices, nothing computed."""

from __future__ import annotations

from typing import Final

from attrs import frozen

CATEGORIES: Final = (
    "Development",
    "Code review",
    "Meeting",
    "Design",
    "Testing",
    "Support",
    "Documentation",
    "Project management",
    "Research",
    "Training",
    "Travel",
    "Administration",
)
"""Names of the categories; each office has a word for each, in this order."""


@frozen
class Office:
    """An office, and the words that its people write.

    Attributes:
        city: Its name.
        utc_offset: Hours that its clocks are ahead of UTC; the sample knows no summer time.
        activities: A word for each of `CATEGORIES`.
        subjects: What the work was about.
    """

    city: str
    utc_offset: int
    activities: tuple[str, ...]
    subjects: tuple[str, ...]


OFFICES: Final = (
    Office(
        "Manchester",
        0,
        (
            "Development",
            "Code review",
            "Meeting",
            "Design",
            "Testing",
            "Support",
            "Documentation",
            "Planning",
            "Research",
            "Training",
            "Travel",
            "Administration",
        ),
        (
            "invoice import",
            "login page",
            "weekly report",
            "customer portal",
            "data migration",
            "mobile app",
            "price list, second draft",
            'the "quick" filter',
            "release 4.2",
            "café point of sale",
        ),
    ),
    Office(
        "Utrecht",
        1,
        (
            "Ontwikkeling",
            "Codereview",
            "Overleg",
            "Ontwerp",
            "Testen",
            "Ondersteuning",
            "Documentatie",
            "Projectleiding",
            "Onderzoek",
            "Opleiding",
            "Reistijd",
            "Administratie",
        ),
        (
            "facturen inlezen",
            "inlogpagina",
            "weekrapport",
            "klantportaal",
            "gegevensmigratie",
            "mobiele app",
            "prijslijst",
            "coördinatie met financiën",
        ),
    ),
    Office(
        "Lyon",
        1,
        (
            "Développement",
            "Revue de code",
            "Réunion",
            "Conception",
            "Tests",
            "Assistance",
            "Documentation",
            "Gestion de projet",
            "Recherche",
            "Formation",
            "Déplacement",
            "Administration",
        ),
        (
            "import des factures",
            "page de connexion",
            "rapport hebdomadaire",
            "portail client",
            "migration des données",
            "application mobile",
            "liste des prix",
            "réunion d'équipe",
        ),
    ),
    Office(
        "Athens",
        2,
        (
            "Ανάπτυξη",
            "Έλεγχος κώδικα",
            "Συνάντηση",
            "Σχεδιασμός",
            "Δοκιμές",
            "Υποστήριξη",
            "Τεκμηρίωση",
            "Διαχείριση έργου",
            "Έρευνα",
            "Εκπαίδευση",
            "Ταξίδι",
            "Διοίκηση",
        ),
        (
            "εισαγωγή τιμολογίων",
            "σελίδα σύνδεσης",
            "εβδομαδιαία αναφορά",
            "πύλη πελατών",
            "μεταφορά δεδομένων",
            "εφαρμογή κινητού",
        ),
    ),
    Office(
        "Kyiv",
        2,
        (
            "Розробка",
            "Перевірка коду",
            "Зустріч",
            "Дизайн",
            "Тестування",
            "Підтримка",
            "Документація",
            "Керування проєктом",
            "Дослідження",
            "Навчання",
            "Відрядження",
            "Адміністрування",
        ),
        (
            "імпорт рахунків",
            "сторінка входу",
            "щотижневий звіт",
            "портал клієнта",
            "міграція даних",
            "мобільний застосунок",
        ),
    ),
    Office(
        "Cairo",
        2,
        (
            "تطوير",
            "مراجعة الكود",
            "اجتماع",
            "تصميم",
            "اختبار",
            "دعم",
            "توثيق",
            "إدارة المشروع",
            "بحث",
            "تدريب",
            "سفر",
            "إدارة",
        ),
        ("استيراد الفواتير", "صفحة الدخول", "التقرير الأسبوعي", "بوابة العملاء", "نقل البيانات", "تطبيق الهاتف"),
    ),
    Office(
        "Pune",
        5,
        (
            "विकास",
            "कोड समीक्षा",
            "बैठक",
            "डिज़ाइन",
            "परीक्षण",
            "सहायता",
            "दस्तावेज़",
            "परियोजना प्रबंधन",
            "अनुसंधान",
            "प्रशिक्षण",
            "यात्रा",
            "प्रशासन",
        ),
        ("चालान आयात", "लॉगिन पृष्ठ", "साप्ताहिक रिपोर्ट", "ग्राहक पोर्टल", "डेटा स्थानांतरण", "मोबाइल ऐप"),
    ),
    Office(
        "Osaka",
        9,
        (
            "開発",
            "コードレビュー",
            "会議",
            "設計",
            "テスト",
            "サポート",
            "ドキュメント作成",
            "プロジェクト管理",
            "調査",
            "研修",
            "出張",
            "事務作業",
        ),
        ("請求書の取り込み", "ログイン画面", "週次レポート", "顧客ポータル", "データ移行", "モバイルアプリ"),
    ),
    Office(
        "Taipei",
        8,
        (
            "開發",
            "程式碼審查",
            "會議",
            "設計",
            "測試",
            "支援",
            "文件撰寫",
            "專案管理",
            "研究",
            "培訓",
            "出差",
            "行政",
        ),
        ("發票匯入", "登入頁面", "每週報告", "客戶入口網站", "資料遷移", "行動應用程式"),
    ),
)

ENDINGS: Final = (
    " 🚀",
    " (1/2)",
    " ☕ + 🍰",
    "\nsee the ticket",
    " – follow-up",  # noqa: RUF001 -- a dash that people type
    "; waiting for an answer",
    "\t50 %",
    " 👩🏽‍💻",
)
"""What some add at the end."""

ODD_DESCRIPTIONS: Final = (
    "=> asked Anna, no answer yet",
    "+1 hour for the way home",
    "- cleaned up",
    "@all: stand-up",
    "n/a",
    "…",
    "0042",
    "null",
)
"""What some write instead; several begin as a spreadsheet's formula would."""

LOCATIONS: Final = ("office", "home", "client")
"""Options of the sample's own custom field, ``location``."""
