// A text field that offers names: the combobox pattern of the ARIA practices, with free text allowed.

/** @typedef {[name: string, detail: string, aliases: string[]]} Entry */

const SHOWN = 40;

/** @param {string} text */
const plain = (text) => text.toLowerCase().replace(/[^a-z0-9. ]+/g, " ");

/** The entries that hold every word, those that start with the text first. @param {Entry[]} entries
 * @param {string} text */
export function matching(entries, text) {
  const words = plain(text).split(" ").filter(Boolean);
  if (!words.length) return entries.slice(0, SHOWN);
  /** @type {[number, Entry][]} */
  const found = [];
  for (const entry of entries) {
    const short = plain(entry[0].split("/").pop() ?? "");
    const all = plain(`${entry[0]} ${entry[1]} ${entry[2].join(" ")}`);
    if (!words.every((word) => all.includes(word))) continue;
    const rank = short.startsWith(words.join(" ")) ? 0 : short.startsWith(words[0]) ? 1 : 2;
    found.push([rank * 1000 + short.length, entry]);
  }
  return found.sort((one, other) => one[0] - other[0]).slice(0, SHOWN).map((pair) => pair[1]);
}

/** @param {HTMLInputElement} input @param {Entry[]} entries @param {() => void} chosen */
export function picker(input, entries, chosen) {
  const list = /** @type {HTMLUListElement} */ (document.getElementById(`${input.id}-list`));
  let active = -1;

  function close() {
    list.hidden = true;
    active = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }

  /** @param {string} text */
  function open(text) {
    const found = matching(entries, text);
    list.replaceChildren(...found.map((entry, index) => option(entry, index)));
    list.hidden = !found.length;
    input.setAttribute("aria-expanded", String(!list.hidden));
    active = -1;
    input.removeAttribute("aria-activedescendant");
  }

  /** @param {Entry} entry @param {number} index */
  function option([name, detail], index) {
    const item = document.createElement("li");
    item.id = `${input.id}-option-${index}`;
    item.role = "option";
    item.ariaSelected = "false";
    item.dataset.value = name;
    const label = document.createElement("span");
    label.textContent = name.split("/").pop() ?? name;
    const small = document.createElement("small");
    small.textContent = detail;
    item.append(label, small);
    return item;
  }

  /** @param {number} index */
  function move(index) {
    const items = /** @type {HTMLLIElement[]} */ ([...list.children]);
    items[active]?.setAttribute("aria-selected", "false");
    active = (index + items.length) % items.length;
    const item = items[active];
    item.setAttribute("aria-selected", "true");
    item.scrollIntoView({ block: "nearest" });
    input.setAttribute("aria-activedescendant", item.id);
  }

  /** @param {Element | undefined} item */
  function choose(item) {
    if (!(item instanceof HTMLLIElement)) return;
    input.value = item.dataset.value ?? "";
    close();
    chosen();
  }

  input.addEventListener("input", () => open(input.value));
  input.addEventListener("click", () => {
    if (list.hidden) {
      input.select();
      open("");
    }
  });
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (list.hidden) open("");
      if (list.children.length) move(event.key === "ArrowDown" ? active + 1 : active < 0 ? -1 : active - 1);
    } else if (event.key === "Enter") {
      event.preventDefault();
      if (active >= 0) choose(list.children[active]);
      else {
        close();
        chosen();
      }
    } else if (event.key === "Escape") close();
  });
  // before the field loses the focus
  list.addEventListener("mousedown", (event) => {
    event.preventDefault();
    choose(/** @type {Element} */ (event.target).closest("li") ?? undefined);
  });
}
