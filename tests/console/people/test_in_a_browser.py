"""The people pages in a real browser: from sign-up to a key, two-factor and a passkey, with and without script."""

import re
from typing import Any

import pytest

from tests.conftest import PASSPHRASE, make_person, make_user
from tests.console.pages import signed_in
from tests.console.people.test_accounts import PASSWORD, code_of

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume synchronous iterators"),
]
PASSKEYS = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
}


@pytest.fixture
def development(settings: Any, tmp_path: Any) -> None:
    """Mail lands on the page of the app, as on a developer's machine."""
    settings.DEBUG, settings.MAIL_DIR = True, tmp_path
    settings.EMAIL_BACKEND = "kit.mail.DevelopmentBackend"


def sign_up(page: Any, site: str) -> str:
    """A new account with an organisation; the address of its project."""
    address = make_user("unused").email.replace("unused", "browser")
    page.goto(f"{site}/account/signup/")
    page.fill("[name=email]", address)
    page.fill("[name=password1]", PASSWORD)
    page.get_by_role("button", name="Create account").click()
    page.get_by_role("link", name="Open the development mailbox").click()
    page.get_by_role("link", name="Confirm your address").first.click()
    link = page.locator(".letter a").get_attribute("href")
    page.goto(site + re.sub(r"^https?://[^/]+", "", link))
    page.get_by_role("button", name="Confirm address").click()
    page.fill("[name=name]", "Browser Works")
    page.get_by_role("button", name="Create organisation").click()
    page.wait_for_url("**/p/default/")
    return str(page.url)


@pytest.mark.parametrize("script", [True, False], ids=["with script", "without script"])
def test_from_sign_up_to_a_key_that_is_shown_once(site: str, chromium: Any, development: None, script: bool) -> None:
    context = chromium.new_context(java_script_enabled=script)
    page = context.new_page()
    project = sign_up(page, site)
    page.goto(f"{project}keys")
    page.get_by_role("link", name="New key").click()
    page.fill("[name=name]", "support-bot")
    page.get_by_role("button", name="Create key").click()
    plaintext = page.locator("#new-key").input_value()
    assert re.fullmatch(r"ts_live_\w{12}_\w{32}_\w{6}", plaintext)
    page.get_by_role("link", name="I have saved it").click()
    assert plaintext not in page.content()
    page.get_by_role("link", name="Revoke support-bot…").click()
    page.get_by_role("button", name="Revoke key").click()
    assert page.get_by_text("key that no longer works").is_visible()
    context.close()


def test_the_dialog_before_a_revocation_starts_on_cancel(site: str, chromium: Any) -> None:
    ada, context = make_person("ada"), chromium.new_context()
    signed_in(context, site, ada)
    page = context.new_page()
    page.goto(f"{site}{ada.workspace}/keys/new")
    page.fill("[name=name]", "one")
    page.get_by_role("button", name="Create key").click()
    page.get_by_role("link", name="I have saved it").click()
    page.get_by_role("link", name="one", exact=True).click()
    page.get_by_role("button", name="Revoke…").click()
    assert page.evaluate("document.activeElement.textContent") == "Cancel"
    page.keyboard.press("Escape")
    assert not page.locator("#revoke").is_visible()
    context.close()


def test_two_factor_and_a_passkey_are_set_up_and_sign_in(site: str, chromium: Any, development: None) -> None:
    ada, context = make_person("ada"), chromium.new_context()
    signed_in(context, site, ada)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.goto(f"{site}/account/2fa/totp/activate/")
    page.fill("[name=password]", PASSPHRASE)
    page.get_by_role("button", name="Confirm").click()
    page.fill("[name=code]", code_of(page.locator(".totp .id code").inner_text()))
    page.get_by_role("button", name="Turn on").click()
    page.wait_for_url("**/recovery-codes/")
    wire = context.new_cdp_session(page)
    wire.send("WebAuthn.enable")
    wire.send("WebAuthn.addVirtualAuthenticator", {"options": PASSKEYS})
    page.goto(f"{site}/account/2fa/webauthn/add/")
    page.check("[name=passwordless]")
    page.get_by_role("button", name="Add passkey").click()
    page.wait_for_url("**/2fa/")
    page.goto(f"{site}/account/logout/")
    page.get_by_role("button", name="Sign out").click()
    page.goto(f"{site}/account/login/")
    page.fill("[name=login]", ada.user.email)
    page.fill("[name=password]", PASSPHRASE)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url("**/2fa/authenticate/")
    page.get_by_role("button", name="Cancel").click()
    page.wait_for_url("**/account/login/")
    page.get_by_role("button", name="Sign in with a passkey").click()
    page.wait_for_url("**/p/default/")
    assert complaints == []
    context.close()
