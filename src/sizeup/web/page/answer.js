// Showing a reply, and what can be taken from it.

/** @typedef {Record<string, any>} Reply */

/** @param {string} id */
const element = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** @param {string} words */
export function say(words) {
  element("status").textContent = words;
}

/** @param {Reply} reply */
export function show(reply) {
  const html = reply.html ?? fallback(reply);
  if (typeof html === "string") element("result").innerHTML = html;
  else element("result").replaceChildren(html);
  element("take").hidden = !reply.ok;
  const { dataset } = element("answer");
  dataset.answers = String(Number(dataset.answers ?? 0) + 1);
  say(reply.summary ?? `error: ${reply.error}`);
  element("sticky").textContent = reply.short ?? "No answer";
  element("sticky").dataset.state = reply.state ?? "error";
  document.title = `${reply.title ?? "error"} · sizeup`;
  if (reply.ok) offerCopies(reply.copies, reply.text);
}

/** What a server that is gone can no longer write. @param {Reply} reply */
function fallback(reply) {
  const head = document.createElement("header");
  head.className = "verdict error";
  const title = document.createElement("h2");
  title.id = "headline";
  title.tabIndex = -1;
  title.textContent = reply.error;
  const hint = document.createElement("p");
  hint.className = "hint";
  hint.textContent = reply.hint;
  head.append(title, hint);
  return head;
}

/** @param {Record<string, string>} copies @param {string} text */
export function offerCopies(copies, text) {
  element("line").textContent = copies["Command line"];
  element("text").textContent = text;
  const row = element("copies");
  const link = element("copy-link");
  const buttons = Object.entries(copies).map(([name, value]) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "quiet";
    button.textContent = name;
    button.dataset.copy = value;
    button.setAttribute("aria-label", `Copy as ${name}`);
    return button;
  });
  row.replaceChildren(link, ...buttons);
}

/** @param {string} text @param {HTMLElement} button */
export async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
    say("Copied");
    button.classList.add("copied");
    setTimeout(() => button.classList.remove("copied"), 1500);
  } catch {
    say("The browser did not allow copying");
    button.classList.add("refused");
  }
}

/** The address asks something else than what stands here: say that it is on its way. */
export function waiting() {
  busy(true);
  const word = document.createElement("p");
  word.className = "word";
  word.textContent = "One moment";
  const head = document.createElement("header");
  head.className = "verdict";
  head.append(word);
  element("result").replaceChildren(head);
  element("take").hidden = true;
}

/** @param {boolean} busy */
export function busy(busy) {
  element("answer").setAttribute("aria-busy", String(busy));
}
