/* data-passkey="get" or "create": the form's button asks the browser for a passkey, and sends its answer.
   data-options is where the challenge comes from. Without passkeys in this browser the form stays hidden. */

const bytes = (words) => Uint8Array.from(atob(words.replaceAll("-", "+").replaceAll("_", "/")), (sign) => sign.charCodeAt(0));
const words = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

// By hand: parseCreationOptionsFromJSON() and toJSON() are missing in browsers that have passkeys.
const asked = ({ user, challenge, allowCredentials, excludeCredentials, ...options }) => ({
  ...options,
  challenge: bytes(challenge),
  ...(user && { user: { ...user, id: bytes(user.id) } }),
  ...(allowCredentials && { allowCredentials: allowCredentials.map((one) => ({ ...one, id: bytes(one.id) })) }),
  ...(excludeCredentials && { excludeCredentials: excludeCredentials.map((one) => ({ ...one, id: bytes(one.id) })) }),
});

const PARTS = ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"];

const told = ({ id, rawId, type, response }) => JSON.stringify({
  id,
  rawId: words(rawId),
  type,
  response: Object.fromEntries(PARTS.filter((part) => response[part]).map((part) => [part, words(response[part])])),
});

const REASONS = {
  InvalidStateError: "This device has a passkey of yours already.",
  SecurityError: "Passkeys do not work at this address.",
};

async function use(form) {
  const answer = await fetch(form.dataset.options, {
    method: "POST",
    body: new URLSearchParams({ csrf_token: form.elements.csrf_token.value }),
    headers: { Accept: "text/plain" },
  });
  if (answer.status === 403 && form.dataset.confirm) {
    location.assign(form.dataset.confirm); // it is too long ago that they proved who they are
    return;
  }
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).message ?? "The server did not answer. Try again.");
  const options = { publicKey: asked(await answer.json()) };
  const credential = form.dataset.passkey === "create" ? await navigator.credentials.create(options) : await navigator.credentials.get(options);
  (form.elements.credential ?? form.elements.confirm_passkey).value = told(credential);
  form.submit();
}

for (const form of document.querySelectorAll("[data-passkey]")) {
  form.hidden = !globalThis.PublicKeyCredential;
  form.querySelector("button").addEventListener("click", async (event) => {
    event.preventDefault();
    const place = form.querySelector("[data-passkey-error]");
    place.hidden = true;
    event.target.disabled = true;
    try {
      await use(form);
    } catch (trouble) {
      // NotAllowedError: they closed the browser's question, or let it time out.
      place.textContent = REASONS[trouble.name] ?? (trouble instanceof DOMException ? "No passkey was used." : trouble.message);
      place.hidden = false;
    } finally {
      event.target.disabled = false;
    }
  });
}
