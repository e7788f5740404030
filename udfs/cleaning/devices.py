"""What a browser says of itself, read: a computer, a phone, a tablet or a television, and whether it is a robot."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from ua_parser import Domain, load_lazy_builtins
from ua_parser.regex import Resolver

from schemas.events import Device

REMEMBERED: Final = 10_000
"""User agents whose class is kept; a site sees a few thousand of them in a day."""

READ: Final = 512
"""Characters of a user agent that are read: no browser needs more, and what is remembered stays below 20 MB."""

ROBOTS: Final = (
    # A link to the page that explains it is how a crawler introduces itself, and no browser does.
    "+http",
    # What crawlers say they do.
    "crawl",
    "spider",
    "slurp",
    "-google",
    "google-",
    "externalhit",
    "externalagent",
    "-user/",  # ChatGPT-User/1.0: a page read on somebody's behalf
    # Browsers without a person.
    "headlesschrome",
    "chrome-lighthouse",
    "phantomjs",
    "jsdom",
    "puppeteer",
    "playwright",
    "selenium",
    "webdriver",
    "cypress/",
    # Those that watch whether a site is up.
    "datadogsynthetics",
    "gtmetrix",
    "pingdom",
    "ptst/",
    "site24x7",
    "statuscake",
    "uptime",
    # Libraries and command lines. okhttp, CFNetwork and Dart are not among them: people's apps speak through those.
    "apache-httpclient",
    "aiohttp",
    "axios/",
    "curl/",
    "go-http-client",
    "guzzle",
    "httpie/",
    "httpx/",
    "insomnia/",
    "java/",
    "libwww-perl",
    "node-fetch",
    "postmanruntime",
    "python-",
    "python/",
    "scrapy",
    "undici",
    "wget/",
)
"""What gives a robot away in lower case, beyond those that ua-parser calls a spider."""

# Cubot makes phones; Ruby says no more than its name, which is a phone's too.
_ROBOT_WORD: Final = re.compile(r"(?<!cu)bots?(?![a-z])|monitor(?:ing)?(?![a-z])|^ruby$")

# The first parentheses name the device; outside of them stand apps, and an app for watching TV runs on phones.
_TELEVISION: Final = re.compile(r"[^(]*\([^)]*?(?:TV\b|\bTV|BRAVIA|\bAFT[A-Z0-9]|VIDAA|VIERA)")

_TELEVISIONS: Final = frozenset(
    {
        "AppleTV",
        "ATV OS X",
        "Chromecast Android",
        "Chromecast Fuchsia",
        "Chromecast Linux",
        "FireHbbTV",
        "GoogleTV",
        "HbbTV",
        "Inettv",
        "LG Web0S SmartTV",
        "Roku",
        "Samsung SMART-TV",
        "tvOS",
        "Web0S",
        "WebTV",
    }
)
_TABLETS: Final = frozenset(
    {"BlackBerry Playbook", "BlackBerry Tablet OS", "Generic Tablet", "HP TouchPad", "iPad", "Kindle", "WeTab"}
)
_PHONES: Final = frozenset(
    {
        "Android",
        "Bada",
        "BlackBerry OS",
        "BREW",
        "Brew MP",
        "Firefox OS",
        "Generic Feature Phone",
        "Generic Smartphone",
        "HarmonyOS",
        "iOS",
        "KaiOS",
        "Maemo",
        "MeeGo",
        "Nokia Series 30 Plus",
        "Nokia Series 40",
        "Sailfish",
        "Symbian OS",
        "Symbian^3",
        "Symbian^3 Anna",
        "Symbian^3 Belle",
        "Tizen",
        "webOS",
        "Windows Mobile",
        "Windows Phone",
    }
)
_COMPUTERS: Final = frozenset(
    {
        "Arch Linux",
        "BSD",
        "CentOS",
        "Chrome OS",
        "Debian",
        "Fedora",
        "FreeBSD",
        "Gentoo",
        "Kubuntu",
        "Linux",
        "Linux Mint",
        "Lubuntu",
        "Mac OS",
        "Mac OS X",
        "Mageia",
        "Mandriva",
        "NetBSD",
        "OpenBSD",
        "openSUSE",
        "PCLinuxOS",
        "Puppy",
        "Red Hat",
        "Slackware",
        "Solaris",
        "SUSE",
        "Ubuntu",
        "Windows",
    }
)
_NONE_OF_THEM: Final = ("Chromecast SmartSpeaker", "Nintendo", "PlayStation", "Quest", "Tesla", "WatchOS", "Xbox")


def device_reader(remembered: int = REMEMBERED) -> Callable[[str], tuple[Device | None, bool]]:
    """Prepare the reading of user agents once: it takes a fifth of a second.

    The families come from ua-parser's rules, matched by its engine without backtracking: no string makes it slow. What
    is read depends on the string alone, and on the pinned rules. The result gives the class of the device and whether
    it is a declared robot: a robot is of no class (`other`), and what nobody can tell has none.

    Two kinds hide: a tablet of Apple's says since 2019 that it is a Mac, and a phone may ask for the desktop's page.

    Args:
        remembered: user agents whose class is kept, the latest used.

    >>> read = device_reader()
    >>> read("Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Safari/604.1")
    (<Device.TABLET: 'tablet'>, False)
    >>> read("curl/8.5.0")
    (<Device.OTHER: 'other'>, True)
    >>> read("")
    (None, False)
    """
    _, systems, devices = load_lazy_builtins()
    families = Resolver(([], systems, devices))

    @lru_cache(maxsize=remembered)
    def read(user_agent: str) -> tuple[Device | None, bool]:
        # Half a surrogate pair is no text to the engine.
        said = user_agent.encode(errors="replace").decode()
        found = families(said, Domain.OS | Domain.DEVICE)
        system = found.os.family if found.os else ""
        device = found.device.family if found.device else ""
        lowered = said.lower()
        if device == "Spider" or _is_robot(lowered):
            return Device.OTHER, True
        return _class(said, lowered, system, device), False

    def read_start(user_agent: str) -> tuple[Device | None, bool]:
        return read(user_agent[:READ])

    return read_start


def _is_robot(lowered: str) -> bool:
    return any(mark in lowered for mark in ROBOTS) or _ROBOT_WORD.search(lowered) is not None


def _class(said: str, lowered: str, system: str, device: str) -> Device | None:  # noqa: PLR0911 - one per class
    if device == "iPhone":
        return Device.MOBILE
    if system.startswith(_NONE_OF_THEM) or device.startswith(_NONE_OF_THEM) or "xbox" in lowered:
        return Device.OTHER
    if _is_television(said, system, device):
        return Device.TV
    if _is_tablet(lowered, system, device):
        return Device.TABLET
    if system in _PHONES or device in _PHONES or "mobile" in lowered:
        return Device.MOBILE
    if system in _COMPUTERS:
        return Device.DESKTOP
    return Device.OTHER if system or device else None


def _is_television(said: str, system: str, device: str) -> bool:
    if device == "iPad":
        return False
    if system in _TELEVISIONS or device in _TELEVISIONS or device.startswith("NetCast"):
        return True
    return _TELEVISION.match(said) is not None


def _is_tablet(lowered: str, system: str, device: str) -> bool:
    if system in _TABLETS or device in _TABLETS or device.startswith("Kindle Fire"):
        return True
    if system == "Android":
        # Only browsers say "Mobile" on a phone: an app that speaks through Android's own library never does.
        return "tablet" in lowered or (lowered.startswith("mozilla/") and "mobi" not in lowered)
    # Old Windows computers with a pen say "Tablet PC".
    return "tablet" in lowered and system != "Windows"
