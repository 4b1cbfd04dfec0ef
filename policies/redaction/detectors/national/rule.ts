/** The form of a rule for identifiers. Rules are data; `identifiers.ts` runs them. */

export interface IdRule {
  /** Label of the placeholder. */
  readonly type: string
  /** The first run of letters and digits: 9 is a digit, A a letter, X either. Several are separated by spaces. */
  readonly starts: string
  /** Source of the pattern, from the first character on, bounded. Letters match in upper case. */
  readonly pattern: string
  /** Published check digits and issued ranges. Gets the value as written. */
  readonly check?: (value: string) => boolean
  /** Found without a word that announces it: its check or shape is telling enough. */
  readonly certain?: true
  /** Lower-case words that announce it when it is not certain. */
  readonly context?: RegExp
  /** Not even in a text that is nothing but values; see `isBare`. */
  readonly notBare?: true
}

/** Words that announce a kind of document in the languages that the detectors know. */
export const WORDS = {
  tax: /\btax|\btin\b|\bitin\b|steuer|\bidnr|fiscal|fiscale|imp[oô]t|\bspi\b|\bnif\b|\bcif\b|contribu|\bvat\b|\bust|umsatz|\btva\b|\biva\b|\bp\.? ?iva|\bbtw\b|\bnip\b|\bmoms|podat|vergi|\bein\b|employer id|\bcuit|\bcuil|\brut\b|\brfc\b|\bcnpj|\bcpf\b|\binn\b|belasting|\babn\b|\btfn\b|\butr\b|\bgst/,
  social:
    /social|\bssn|\bssid\b|security|\bsin\b|insurance|\bnas\b|assurance|\bnino?\b|national|s[eé]cu|\bnir\b|\binsee\b|seguridad|versicherung|\brvnr|\bsv-?n|\bsvnr|\bbsn\b|burgerservice|sofi|pesel|personnummer|samordning|\bcpr\b|f[oø]dsels|hetu|henkil[oö]|personbet|kennitala|rijksregister|registre national|\binsz\b|\bniss\b|rodn[eé]|\bcnp\b|\begn\b|\boib\b|\bjmbg|\bemso|isikukood|asmens|personas kods|\bamka\b|\btaj\b|aadhaar|aadhar|uidai|kimlik|\btckn?\b|mykad|\brrn\b|\bfrn\b|주민|외국인|身份|마이넘버|マイナンバー|my ?number|ประชาชน|\bcnic\b|teudat|ת\.?ז|emirates|\bcurp\b|identi|identy|\bid\b|\bid[: #]|dni|ausweis|legitima|dow[oó]d|c[eé]dula|bilhete|cart[aã]o de cidad|citizen|\bahv\b|\bavs\b|snils|\bnric\b|\bfin\b|\bnin\b/,
  passport:
    /passport|reisepass|\bpass\b|passnummer|passeport|pasaporte|passaporto|passaporte|paspoort|paszport|\bpas\b|pasaport|passi\b|\bmrz\b|travel|여권|旅券|パスポート|护照|паспорт|document|dokument|viaggi/,
  licence:
    /licen[cs]e|licen[cs]ia|driver|driving|\bdl\b|\bdln\b|\blic\b|permit|permis|f[uü]hrerschein|fahrerlaubnis|patente|conducir|carnet|rijbewijs|prawo jazdy|prawa jazdy|condu[cç]|carta de|\bcnh\b|k[oö]rkort|운전면허|면허|免許|\bdvla\b|identification/,
  account:
    /account|\bacct|\ba\/c\b|bank|konto|kontonummer|compte|cuenta|\bconto\b|conta\b|rekening|rachun|\btili|debit|check(?:ing|)\b|savings?|\bsave\b|deposit/,
  routing: /\baba\b|routing|\brtn\b|\babarouting|bankrouting|transit|sort ?code/,
  health:
    /\bnhs\b|health|medicare|\bmbi\b|medicaid|beneficiar|patient|kranken|\bkvnr|\begk\b|gkv|versichert|sant[eé]|salud|sanitar|zdrow|\bnpi\b|provider|\bdea\b|medical|doctor|arzt|lanr|bsnr|praxis|betriebsst[aä]tt|certificate|\bcms\b|hicn?\b|tessera/,
  vehicle:
    /vehicle|\bplate|registration|\breg\b|\bvrn\b|\bvrm\b|number ?plate|\bdvla\b|\bcar\b|kennzeichen|nummernschild|\bkfz|fahrzeug|zulassung|plaque|immatricul|matr[ií]cula|targa|kenteken|rejestrac|plaka|\bplac[aă]\b|\brto\b|insured|\bmot\b|v5c|logbook/,
  postal:
    /post ?code|postal|\bzip\b|\bplz\b|postleitzahl|postcode|kod pocztowy|\bcap\b|c[oó]digo postal|code postal|\bcep\b|postnummer|address|adres|anschrift|wohn|deliver|mailing|shipping|correspond|stra[sß]/,
  company:
    /company|business|compan|firma|\bacn\b|\babn\b|\buen\b|\bacra\b|\bbrn\b|사업자|사업|organisations?nummer|\borg\.? ?n|siren|siret|\bregon\b|handelsregister|\bhrb\b|\bhra\b|\bkrs\b|entity|y-tunnus|f[oö]retag|\bgst/,
} as const
