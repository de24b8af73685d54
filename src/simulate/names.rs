//! Words that the world is written with. All made up; every domain is under `.example` (RFC 2606).

/// First names of people.
pub(super) const FIRST: &[&str] = &[
    "anna", "ben", "carla", "david", "elif", "frank", "greta", "hakan", "ines", "jonas", "katrin", "lars",
    "mina", "nils", "olga", "paul", "rana", "stefan", "tarek", "ute", "vera", "willi", "yasmin", "zoran",
    "amelie", "bruno", "clara", "dario", "emil", "fatma", "georg", "hanna", "ivan", "julia", "karim", "lena",
    "marco", "nadja", "oskar", "petra", "rosa", "simon", "tina", "udo", "viola", "walter", "xenia", "yannik",
    "zita", "arne", "birgit", "cem", "doris", "enno", "frieda", "gerd", "heike", "igor", "jana", "kai",
];
/// Family names of people.
pub(super) const LAST: &[&str] = &[
    "albrecht", "berger", "conrad", "dietz", "engel", "fuchs", "graf", "hahn", "ilgner", "jung", "keller",
    "lorenz", "maurer", "neumann", "otto", "pohl", "quandt", "richter", "seidel", "thoma", "ulrich", "vogt",
    "winter", "yilmaz", "zander", "arnold", "busch", "claus", "dreyer", "ernst", "franke", "gross", "heinze",
    "issing", "jakobs", "kuhn", "lange", "moser", "nowak", "oster", "peters", "rabe", "sommer", "tillmann",
    "uhlig", "voss", "weiss", "ziegler", "adler", "brandt", "citak", "demir", "ebert", "frey", "gerber",
    "horn", "ismail", "jahn", "krause", "lindner",
];
/// Company names that watch their mail.
pub(super) const COMPANIES: &[&str] = &[
    "nordwind",
    "elbtal",
    "havelland",
    "rheinbruecke",
    "taunusblick",
    "weserkontor",
    "bodenwerk",
    "alsterhof",
];
/// First halves of receivers' domains.
pub(super) const DOMAIN_HEADS: &[&str] = &[
    "alpha", "berg", "city", "delta", "eco", "fein", "gold", "hafen", "inno", "jura", "kern", "licht",
    "metall", "nova", "optik", "plan", "quer", "rad", "stadt", "tech", "uni", "vita", "wald", "zentral",
    "agrar", "bau", "clever", "dach", "edel", "foto",
];
/// Second halves of receivers' domains.
pub(super) const DOMAIN_TAILS: &[&str] = &[
    "haus", "werk", "markt", "post", "netz", "dienst", "partner", "gruppe", "kontor", "labor", "media",
    "praxis", "system", "verlag", "versand", "logistik", "technik", "service",
];
/// Big mailbox providers.
pub(super) const PROVIDERS: &[&str] = &[
    "gmehl",
    "outpost",
    "yahuu",
    "webpost",
    "gemix",
    "icloudy",
    "freemehl",
    "tonline",
    "mailbuero",
    "posteria",
    "protonic",
    "zohoo",
];
/// Subjects of people's mail.
pub(super) const SUBJECTS: &[&str] = &[
    "Re: Termin am Donnerstag",
    "Angebot 20318",
    "AW: Rueckfrage zur Lieferung",
    "Protokoll von gestern",
    "Re: your order confirmation",
    "Fwd: Zeichnung Rev. C",
    "Unterlagen fuer Montag",
    "Re: Muster",
    "Kurze Frage",
    "Re: Re: Preisliste",
    "Bestellung 4711",
    "Einladung zum Audit",
    "Minutes of the meeting",
    "AW: Reklamation",
    "Reiseplanung",
    "Re: contract draft",
    "Stundenzettel",
    "Lieferschein",
];
/// Sentences of ordinary mail.
pub(super) const SENTENCES: &[&str] = &[
    "Vielen Dank fuer die schnelle Antwort.",
    "Please find the drawing attached as discussed on the phone.",
    "Wir koennen die Lieferung auf Dienstag verschieben.",
    "Could you confirm the quantities by the end of the week?",
    "Die Rechnung ist gestern bei uns eingegangen.",
    "Anbei das Protokoll, Korrekturen bitte bis morgen.",
    "The samples left our warehouse this morning.",
    "Bitte geben Sie mir kurz Bescheid, ob das so passt.",
    "I will be out of office from Thursday on.",
    "Der Spediteur meldet sich direkt bei Ihnen.",
    "We agreed on the second option, so the price stays as it is.",
    "Mit dem Kunden ist das so abgestimmt.",
    "Kind regards from a sunny office.",
    "Das Angebot gilt bis zum Monatsende.",
];
/// Subjects of spam campaigns.
pub(super) const SPAM_SUBJECTS: &[&str] = &[
    "Your parcel is waiting - confirm delivery",
    "Account notice: action needed within 24h",
    "Unpaid invoice No 88213",
    "You have (1) new voice message",
    "Congratulations, you were selected",
    "Lose weight without effort",
    "Ihr Konto wurde eingeschraenkt",
    "Letzte Mahnung",
    "Cheap meds online",
    "Investment that pays 14% a week",
    "Password expires today",
];
/// Sentences of spam campaigns.
pub(super) const SPAM_SENTENCES: &[&str] = &[
    "We could not deliver your parcel. Please confirm your address below.",
    "Unusual activity was detected. Verify your account to avoid suspension.",
    "This offer ends tonight, so do not wait.",
    "Click the button to review the document that was shared with you.",
    "Ihre Zahlung konnte nicht bearbeitet werden.",
    "Only a small handling fee is left to be paid.",
    "Thousands of people already profit from our program.",
    "Klicken Sie auf den Link, um die Sperrung aufzuheben.",
];
/// Names by which spam software greets.
pub(super) const BOT_GREETINGS: &[&str] =
    &["ylmf-pc", "localhost", "win-k3v9q1", "user-pc", "desktop-7h2ab1", "mail", "server1", "friend"];
