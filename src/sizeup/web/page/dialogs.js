// The two dialogs: where a number comes from, and a configuration to paste.

/** @param {string} id */
const dialog = (id) => /** @type {HTMLDialogElement} */ (document.getElementById(id));

/** Show a waiting dialog at once and fill it when the reply is there. @param {Promise<Record<string, any>>} asked */
export async function showWhy(asked) {
  const box = dialog("why");
  const body = /** @type {HTMLElement} */ (document.getElementById("why-body"));
  body.textContent = "One moment…";
  if (!box.open) box.showModal();
  const reply = await asked;
  if (reply.ok) body.innerHTML = reply.html;
  else body.textContent = `${reply.error}. ${reply.hint}`;
  body.scrollTop = 0;
}

/** @param {(text: string) => void} use @param {(file: File) => void} open */
export function pasteDialog(use, open) {
  const box = dialog("paste-dialog");
  const text = /** @type {HTMLTextAreaElement} */ (document.getElementById("paste-text"));
  const file = /** @type {HTMLInputElement} */ (document.getElementById("file"));
  document.getElementById("paste")?.addEventListener("click", () => box.showModal());
  document.getElementById("paste-use")?.addEventListener("click", () => {
    if (!text.value.trim()) {
      text.focus();
      return;
    }
    box.close();
    use(text.value);
  });
  file.addEventListener("change", () => {
    const chosen = file.files?.[0];
    file.value = "";
    if (!chosen) return;
    box.close();
    open(chosen);
  });
  for (const one of [box, dialog("why")]) {
    one.addEventListener("click", (event) => {
      if (event.target === one) one.close();
    });
  }
}
