"""Carrier sentences: what the captions of the twenty judged languages say around the number.

The number is a bare cardinal, so it stands after a colon, in apposition or as a name, where no grammar bends it, and
always beside a blank or a comma, colon or full stop. A sentence is long enough that language ID knows its language.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# By descending share of the pool's captions, English apart.
CARRIERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "en": (
            "a handwritten number: {number}, on paper",
            "the number {number} written by hand on paper",
            "This is a scan of a handwritten number: {number}",
            "Somebody wrote this number with a pen: {number}",
            "Download this free picture of the handwritten number {number}",
            "Handwriting worksheet for children who learn the number {number}",
            "{number} – photo of a number that was written by hand",
        ),
        "de": (
            "eine handgeschriebene Zahl auf dem Papier: {number}",
            "die Zahl {number}, mit der Hand auf Papier geschrieben",
            "Das ist der Scan einer handgeschriebenen Zahl: {number}",
            "Jemand hat diese Zahl mit dem Stift geschrieben: {number}",
            "Kostenloses Bild der handgeschriebenen Zahl {number} zum Herunterladen",
            "Arbeitsblatt für Kinder, die Zahlen schreiben lernen: {number}",
            "{number} – Foto einer von Hand geschriebenen Zahl",
        ),
        "fr": (
            "un nombre écrit à la main : {number}, sur du papier",
            "le nombre {number} écrit à la main sur une feuille",
            "Ceci est le scan d'un nombre écrit à la main : {number}",
            "Quelqu'un a écrit ce nombre au stylo : {number}",
            "Télécharger gratuitement cette image du nombre {number} écrit à la main",
            "Fiche pour les enfants qui apprennent à écrire les nombres : {number}",
            "{number} – photo d'un nombre écrit à la main",
        ),
        "es": (
            "un número escrito a mano: {number}, sobre el papel",
            "el número {number} escrito a mano en una hoja",
            "Este es el escaneo de un número escrito a mano: {number}",
            "Alguien escribió este número con un bolígrafo: {number}",
            "Descarga gratis esta imagen del número {number} escrito a mano",
            "Ficha para los niños que aprenden a escribir los números: {number}",
            "{number} – foto de un número escrito a mano en una hoja",
        ),
        "ru": (
            "число, написанное от руки на бумаге: {number}",
            "число {number}, написанное ручкой на листе бумаги",
            "Это скан числа, которое написано от руки: {number}",
            "Кто-то написал это число шариковой ручкой: {number}",
            "Скачать бесплатно картинку с рукописным числом: {number}",
            "Прописи для детей, которые учатся писать числа: {number}",
            "{number} – фотография числа, написанного от руки",
        ),
        "ja": (
            "紙に手で書かれた数字：{number}",
            "ペンで書いた{number}という数字の写真です",
            "手書きの数字をスキャンした画像：{number}",
            "だれかがこの数字をペンで書きました：{number}",
            "手書きの数字の画像を無料でダウンロード：{number}",
            "こどものための数字の書き方の練習：{number}",
            "{number}、これは手で書かれた数字の写真です",
        ),
        "pt": (
            "um número escrito à mão: {number}, no papel",
            "o número {number} escrito à mão numa folha de papel",
            "Esta é a digitalização de um número escrito à mão: {number}",
            "Alguém escreveu este número com uma caneta: {number}",
            "Faça o download grátis desta imagem do número {number} escrito à mão",
            "Ficha para as crianças que aprendem a escrever os números: {number}",
            "{number} – fotografia de um número escrito à mão",
        ),
        "it": (
            "un numero scritto a mano: {number}, sulla carta",
            "il numero {number} scritto a mano su un foglio",
            "Questa è la scansione di un numero scritto a mano: {number}",
            "Qualcuno ha scritto questo numero con la penna: {number}",
            "Scarica gratis questa immagine del numero {number} scritto a mano",
            "Scheda per i bambini che imparano a scrivere i numeri: {number}",
            "{number} – foto di un numero scritto a mano",
        ),
        "pl": (
            "liczba napisana ręcznie na kartce papieru: {number}",
            "liczba {number}, którą ktoś napisał ręcznie na kartce",
            "To jest skan liczby, którą napisano ręcznie: {number}",
            "Ktoś napisał tę liczbę na kartce długopisem: {number}",
            "Pobierz za darmo to zdjęcie odręcznie napisanej liczby: {number}",
            "Karta pracy dla dzieci, które uczą się pisać liczby: {number}",
            "{number} – zdjęcie liczby napisanej ręcznie na kartce",
        ),
        "nl": (
            "een met de hand geschreven getal: {number}, op papier",
            "het getal {number}, met de hand op papier geschreven",
            "Dit is een scan van een handgeschreven getal: {number}",
            "Iemand heeft dit getal met een pen geschreven: {number}",
            "Download gratis deze afbeelding van het handgeschreven getal {number}",
            "Werkblad voor kinderen die getallen leren schrijven: {number}",
            "{number} – foto van een handgeschreven getal op papier",
        ),
        "tr": (
            "kağıt üzerine elle yazılmış bir sayı: {number}",
            "bir kağıda kalemle yazılmış olan {number} sayısı",
            "Bu, elle yazılmış bir sayının taranmış görüntüsü: {number}",
            "Birisi bu sayıyı kalemle kağıda yazmış: {number}",
            "Elle yazılmış bu sayının resmini ücretsiz indirin: {number}",
            "Sayıları yazmayı öğrenen çocuklar için çalışma kağıdı: {number}",
            "{number} – elle yazılmış bir sayının fotoğrafı",
        ),
        "ar": (
            "رقم مكتوب بخط اليد على الورق: {number}",
            "العدد {number} مكتوب بخط اليد على ورقة",
            "هذه صورة ممسوحة ضوئيا لعدد مكتوب بخط اليد: {number}",
            "كتب شخص ما هذا العدد بالقلم: {number}",
            "تحميل مجاني لصورة هذا العدد المكتوب بخط اليد: {number}",
            "ورقة عمل للأطفال الذين يتعلمون كتابة الأعداد: {number}",
            "{number} – صورة لعدد مكتوب بخط اليد",
        ),
        "vi": (
            "con số được viết tay trên giấy: {number}",
            "số {number} được viết bằng tay trên tờ giấy",
            "Đây là bản quét của con số viết tay: {number}",
            "Ai đó đã viết số này bằng bút: {number}",
            "Tải miễn phí hình ảnh của con số viết tay này: {number}",
            "Bài tập cho trẻ em học viết các con số: {number}",
            "{number} – ảnh chụp con số được viết bằng tay",
        ),
        "id": (
            "sebuah angka yang ditulis tangan di atas kertas: {number}",
            "angka {number} yang ditulis dengan pena di kertas",
            "Ini adalah hasil pindai angka yang ditulis tangan: {number}",
            "Seseorang telah menulis angka ini dengan pena: {number}",
            "Unduh gratis gambar angka tulisan tangan ini: {number}",
            "Lembar latihan untuk anak yang belajar menulis angka: {number}",
            "{number} – foto angka yang ditulis dengan tangan",
        ),
        "cs": (
            "číslo, které někdo napsal rukou na papír: {number}",
            "číslo {number} napsané rukou na listu papíru",
            "Toto je sken čísla, které bylo napsáno ručně: {number}",
            "Někdo napsal toto číslo na papír propiskou: {number}",
            "Stáhněte si zdarma obrázek ručně psaného čísla: {number}",
            "Pracovní list pro děti, které se učí psát čísla: {number}",
            "{number} – fotografie ručně psaného čísla na papíře",
        ),
        "uk": (
            "число, написане від руки на папері: {number}",
            "число {number}, написане ручкою на аркуші паперу",
            "Це скан числа, яке хтось написав від руки: {number}",
            "Хтось написав це число кульковою ручкою: {number}",
            "Завантажити безкоштовно зображення рукописного числа: {number}",
            "Прописи для дітей, які вчаться писати числа: {number}",
            "{number} – фотографія числа, яке написано від руки",
        ),
        "ro": (
            "un număr scris de mână pe hârtie: {number}",
            "numărul {number} scris de mână pe o foaie",
            "Aceasta este scanarea unui număr scris de mână: {number}",
            "Cineva a scris acest număr cu pixul: {number}",
            "Descarcă gratuit această imagine cu numărul {number} scris de mână",
            "Fișă pentru copiii care învață să scrie numerele: {number}",
            "{number} – fotografia unui număr scris de mână",
        ),
        "sv": (
            "ett tal som är skrivet för hand på papper: {number}",
            "talet {number} skrivet för hand på ett papper",
            "Det här är en inskannad bild av ett handskrivet tal: {number}",
            "Någon har skrivit det här talet med penna: {number}",
            "Ladda ner bilden av det här handskrivna talet gratis: {number}",
            "Övningsblad för barn som lär sig att skriva tal: {number}",
            "{number} – foto av ett tal som är skrivet för hand",
        ),
        "hu": (
            "egy kézzel írt szám a papíron: {number}",
            "a papírra kézzel írt szám ez: {number}, ahogy a képen látható",
            "Ez egy kézzel írt szám beolvasott képe: {number}",
            "Valaki tollal írta le ezt a számot: {number}",
            "Töltse le ingyen ezt a képet egy kézzel írt számról: {number}",
            "Feladatlap gyerekeknek, akik számokat tanulnak írni: {number}",
            "{number} – fénykép egy kézzel írt számról",
        ),
        "fi": (
            "kuvassa on käsin paperille kirjoitettu luku: {number}",
            "tässä on käsin kirjoitettu luku {number} paperilla",
            "Tämä on skannattu kuva käsin kirjoitetusta luvusta: {number}",
            "Joku on kirjoittanut tämän luvun kynällä: {number}",
            "Lataa ilmaiseksi tämä kuva käsin kirjoitetusta luvusta: {number}",
            "Tehtävä lapsille, jotka opettelevat kirjoittamaan lukuja: {number}",
            "{number} – valokuva luvusta, joka on kirjoitettu käsin",
        ),
    }
)


def fill(template: str, number: str, capital: str) -> str:
    """`template` with `number` in its slot; `capital`, its capitalised form, where the slot opens the text."""
    return template.replace("{number}", capital if template.startswith("{number}") else number)


def evaluation_templates(language: str) -> list[str]:
    """The carriers of `language` in which the number keeps its small letters, with `{}` as their slot."""
    return [t.replace("{number}", "{}") for t in CARRIERS[language] if not t.startswith("{number}")]
