"""A user agent gives a device its class, and a declared robot away; no string is too hostile to be read."""

from time import perf_counter

import pytest

from schemas.events import Device
from udfs.cleaning.devices import READ, device_reader

READER = device_reader()
WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
CHROME = f"{WEBKIT} Chrome/126.0.0.0"
SAFARI = "AppleWebKit/605.1.15 (KHTML, like Gecko)"

PEOPLE = {
    Device.DESKTOP: [
        f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {CHROME} Safari/537.36",
        f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {CHROME} Safari/537.36 Edg/126.0.2592.68",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:127.0) Gecko/20100101 Firefox/127.0",
        "Mozilla/5.0 (Windows NT 6.1; WOW64; Trident/7.0; Tablet PC 2.0; rv:11.0) like Gecko",
        f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {CHROME} Slack/4.39.88 Electron/31.0.1 Safari/537.36",
        f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {SAFARI} Version/17.5 Safari/605.1.15",
        f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {CHROME} Safari/537.36",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:127.0) Gecko/20100101 Firefox/127.0",
        f"Mozilla/5.0 (X11; Linux x86_64) {CHROME} Safari/537.36",
        "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
        f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {CHROME} Safari/537.36",
    ],
    Device.MOBILE: [
        f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5_1 like Mac OS X) {SAFARI} Version/17.5 Mobile/15E148 Safari/604.1",
        f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) {SAFARI} CriOS/126.0 Mobile/15E148 Safari/604.1",
        f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) {SAFARI} FxiOS/127.0 Mobile/15E148 Safari/605.1.15",
        f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) {SAFARI} EdgiOS/126.0 Mobile/15E148 Safari/604.1",
        f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) {SAFARI} Mobile/15E148 [Pinterest/iOS]",
        f"Mozilla/5.0 (Linux; Android 10; K) {CHROME} Mobile Safari/537.36",
        f"Mozilla/5.0 (Linux; Android 10; K) {CHROME} Mobile Safari/537.36 EdgA/126.0.0.0",
        f"Mozilla/5.0 (Linux; Android 14; SM-S921B) {CHROME} Mobile Safari/537.36 OurTV/3.1",
        "Mozilla/5.0 (Android 14; Mobile; rv:127.0) Gecko/127.0 Firefox/127.0",
        f"Mozilla/5.0 (Linux; Android 9; CUBOT_NOTE_S) {CHROME} Mobile Safari/537.36",
        f"Mozilla/5.0 (Linux; Android 7.0; CUBOT DINOSAUR Build/NRD90M) {CHROME} Mobile Safari/537.36",
        "Opera/9.80 (Android; Opera Mini/36.2.2254/119.132; U; id) Presto/2.12.423 Version/12.16",
        "Mozilla/5.0 (Mobile; Nokia_8110_4G; rv:48.0) Gecko/48.0 Firefox/48.0 KAIOS/2.5",
        f"Mozilla/5.0 (Phone; OpenHarmony 5.0) {CHROME} Safari/537.36 ArkWeb/4.1.6.1 Mobile",
        "Dalvik/2.1.0 (Linux; U; Android 14; SM-S921B Build/UP1A.231005.007)",
        "Shop/7 CFNetwork/1494.0.7 Darwin/23.4.0",
    ],
    Device.TABLET: [
        f"Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) {SAFARI} Version/17.5 Mobile/15E148 Safari/604.1",
        "Shop/5.2 (iPad; iOS 17.5.1; Scale/2.00)",
        f"Mozilla/5.0 (Linux; Android 13; SM-X700) {CHROME} Safari/537.36",
        "Mozilla/5.0 (Android 14; Tablet; rv:127.0) Gecko/127.0 Firefox/127.0",
        f"Mozilla/5.0 (Linux; Android 11; KFTRWI) {WEBKIT} Silk/122.4.1 like Chrome/122.0 Safari/537.36",
    ],
    Device.TV: [
        f"Mozilla/5.0 (SMART-TV; LINUX; Tizen 6.0) {WEBKIT} 76.0.3809.146/6.0 TV Safari/537.36",
        f"Mozilla/5.0 (Web0S; Linux/SmartTV) {CHROME} Safari/537.36 WebAppManager",
        f"Mozilla/5.0 (Linux; Android 10; BRAVIA 4K UR2 Build/PTT1.190515.001.S52) {CHROME} Safari/537.36",
        f"Mozilla/5.0 (Linux; Android 12; MiTV-MSSP1) {CHROME} Safari/537.36",
        f"Mozilla/5.0 (Linux; Android 9; AFTMM Build/PS7242) {WEBKIT} Silk/80.5.3 like Chrome/80.0.3987 Safari/537.36",
        f"Mozilla/5.0 (X11; Linux armv7l) {CHROME} Safari/537.36 CrKey/1.56.500000",
        "AppleCoreMedia/1.0.0.21K69 (Apple TV; U; CPU OS 17_1 like Mac OS X; en_us)",
        "Roku/DVP-9.10 (519.10E04111A)",
        "HbbTV/1.2.1 (;Panasonic;VIERA 2013;3.672;4101-0003 0002-0000;)",
    ],
    Device.OTHER: [
        f"Mozilla/5.0 (PlayStation; PlayStation 5/2.26) {SAFARI} Version/13.0 Safari/605.1.15",
        f"Mozilla/5.0 (Windows NT 10.0; Win64; x64; Xbox; Xbox One) {CHROME} Safari/537.36 Edg/126.0.0.0",
        f"Mozilla/5.0 (Linux; Android 12; Quest 3) {CHROME} VR Safari/537.36",
    ],
    None: ["", "  ", "-", "asdf", "okhttp/4.12.0", "\x00", "💥" * 40],
}

ROBOTS = [
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    (
        f"Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) {CHROME} Mobile Safari/537.36"
        " (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
    ),
    (
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)"
        " Chrome/116.0.1938.76 Safari/537.36"
    ),
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; ClaudeBot/1.0; +claudebot@anthropic.com)",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko); compatible; ChatGPT-User/1.0; +https://openai.com/bot",
    "Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)",
    "Mozilla/5.0 (compatible; Baiduspider/2.0; +http://www.baidu.com/search/spider.html)",
    (
        f"Mozilla/5.0 (Linux; Android 5.0) {WEBKIT} Mobile Safari/537.36"
        " (compatible; Bytespider; spider-feedback@bytedance.com)"
    ),
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "Mozilla/5.0 (compatible; Yahoo! Slurp; http://help.yahoo.com/help/us/ysearch/slurp)",
    "Mediapartners-Google",
    "Google-Read-Aloud",
    "WhatsApp/2.24.12.78 A",
    f"Mozilla/5.0 (Linux; Android 11; moto g power (2022)) {CHROME} Mobile Safari/537.36 Chrome-Lighthouse",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/126.0.6478.61 Safari/537.36",
    "Mozilla/5.0 (Unknown; Linux x86_64) AppleWebKit/538.1 (KHTML, like Gecko) PhantomJS/2.1.1 Safari/538.1",
    "Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)",
    "Pingdom.com_bot_version_1.4_(http://www.pingdom.com/)",
    "Our own monitor 1.0",
    "Mozilla/5.0 (compatible; Site24x7)",
    "curl/8.5.0",
    "Wget/1.21.4",
    "python-requests/2.32.3",
    "Python/3.11 aiohttp/3.9.5",
    "Go-http-client/2.0",
    "Java/17.0.11",
    "Apache-HttpClient/4.5.14 (Java/17.0.11)",
    "axios/1.7.2",
    "PostmanRuntime/7.39.0",
    "Scrapy/2.11.2 (+https://scrapy.org)",
    "Ruby",
]

HOSTILE = [
    "a" * 2048,
    ("Mozilla/5.0 (Linux; Android " + "; " * 1024)[:2048],
    ("HbbTV/1.1.1 (" + ";" * 2048)[:2048],
    "(" * 2048,
    "bot" * 682,
    "0." * 1024,
    ("UCWEB" + "; Adr 1." * 256)[:2048],
    "\U0010ffff" * 2048,
    "\ud800" * 2048,
    "\x00" * 2048,
    "\n" * 2048,
]


@pytest.mark.parametrize(("device", "user_agent"), [(device, said) for device, all_ in PEOPLE.items() for said in all_])
def test_a_persons_user_agent_gives_the_class_of_the_device(device: Device | None, user_agent: str) -> None:
    assert READER(user_agent) == (device, False)


@pytest.mark.parametrize("user_agent", ROBOTS)
def test_a_declared_robot_is_one_and_of_no_class(user_agent: str) -> None:
    assert READER(user_agent) == (Device.OTHER, True)


def test_capitals_hide_no_robot() -> None:
    assert READER("CURL/8.5.0") == READER("MyCRAWLER") == (Device.OTHER, True)


@pytest.mark.parametrize("user_agent", HOSTILE, ids=lambda said: ascii(said[:16]))
def test_a_hostile_string_is_read_in_milliseconds(user_agent: str) -> None:
    read = device_reader(remembered=0)
    started = perf_counter()
    read(user_agent)
    # 0.3 ms on a quiet machine; a rule that backtracks takes seconds.
    assert perf_counter() - started < 0.1


def test_what_stands_behind_the_start_of_an_endless_string_is_not_read() -> None:
    assert READER("x" * READ + "curl/8.5.0") == (None, False)
    assert READER("x" * (READ - 10) + "curl/8.5.0") == (Device.OTHER, True)


def test_what_is_remembered_and_what_is_forgotten_are_read_alike() -> None:
    forgetful = device_reader(remembered=1)
    everyone = [said for all_ in PEOPLE.values() for said in all_] + ROBOTS
    assert [forgetful(said) for said in everyone * 2] == [READER(said) for said in everyone * 2]
