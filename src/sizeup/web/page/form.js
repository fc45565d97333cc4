// Reading and setting the controls of a job; a slider and its text field say the same.

/** @typedef {Record<string, string>} Flags */

/** @param {string} job */
export function formOf(job) {
  return /** @type {HTMLFormElement} */ (document.getElementById(`form-${job}`));
}

/** @param {HTMLFormElement} form */
function controls(form) {
  return /** @type {(HTMLInputElement | HTMLSelectElement)[]} */ ([...form.querySelectorAll("input[name], select[name]")]);
}

/** The flags that a form's controls name; empty ones are left out, and a first choice that is the default.
 * @param {HTMLFormElement} form @returns {Flags} */
export function readForm(form) {
  /** @type {Flags} */
  const flags = {};
  for (const control of controls(form)) {
    if (control.type === "radio") {
      if (/** @type {HTMLInputElement} */ (control).checked) flags[control.name] = control.value;
    } else if (control.value.trim()) flags[control.name] = control.value.trim();
  }
  return flags;
}

/** @param {HTMLFormElement} form @param {Flags} flags */
export function writeForm(form, flags) {
  for (const control of controls(form)) {
    const value = flags[control.name] ?? "";
    if (control.type === "radio") {
      const radio = /** @type {HTMLInputElement} */ (control);
      radio.checked = value ? radio.value === value : radio.value === firstRadio(form, radio.name);
    } else if (control instanceof HTMLSelectElement) {
      offer(control, value);
      control.value = value;
    } else control.value = value;
  }
  for (const slider of sliders(form)) follow(slider);
  const more = form.querySelector("details");
  if (more && controls(form).some((control) => more.contains(control) && control.value)) more.open = true;
}

/** @param {HTMLFormElement} form @param {string} name */
function firstRadio(form, name) {
  return /** @type {HTMLInputElement | null} */ (form.querySelector(`input[type=radio][name="${name}"]`))?.value;
}

/** A value that a link brings and the list lacks is offered too. @param {HTMLSelectElement} select @param {string} value */
function offer(select, value) {
  if (value && ![...select.options].some((option) => option.value === value)) select.add(new Option(value, value));
}

/** @param {HTMLElement} form */
function sliders(form) {
  return /** @type {HTMLInputElement[]} */ ([...form.querySelectorAll("input[type=range]")]);
}

/** @param {HTMLInputElement} slider */
function steps(slider) {
  return (slider.dataset.steps ?? "").split(",");
}

/** @param {HTMLInputElement} slider */
function fieldOf(slider) {
  return /** @type {HTMLInputElement} */ (document.getElementById(slider.dataset.for ?? ""));
}

/** What a number such as 8k means. @param {string} text */
function amount(text) {
  const match = /^([0-9][0-9_,]*\.?[0-9]*)\s*([km]?)/i.exec(text.trim());
  if (!match) return NaN;
  const factor = { "": 1, k: 1024, m: 1024 ** 2 }[match[2].toLowerCase()] ?? 1;
  return Number(match[1].replace(/[_,]/g, "")) * factor;
}

/** Put the slider where its text field is. @param {HTMLInputElement} slider */
function follow(slider) {
  const field = fieldOf(slider);
  const wanted = amount(field.value);
  let best = Number(slider.dataset.start);
  if (Number.isFinite(wanted)) {
    const far = steps(slider).map((step) => Math.abs(Math.log(Number(step) / wanted)));
    best = far.indexOf(Math.min(...far));
  }
  slider.value = String(best);
  slider.classList.toggle("automatic", !field.value.trim());
  slider.setAttribute("aria-valuetext", field.value.trim() || `${field.placeholder}, as nothing is set`);
}

/** Tell about every change and what it is part of. @param {HTMLElement} root
 * @param {(how: "typing" | "sliding" | "done") => void} changed */
export function onChange(root, changed) {
  root.addEventListener("submit", (event) => {
    event.preventDefault();
    changed("done");
  });
  root.addEventListener("input", (event) => {
    const target = /** @type {HTMLInputElement} */ (event.target);
    if (target.type === "range") {
      const field = fieldOf(target);
      field.value = steps(target)[Number(target.value)] ?? "";
      target.classList.remove("automatic");
      target.setAttribute("aria-valuetext", field.value);
      changed("sliding");
      return;
    }
    for (const slider of sliders(root)) if (slider.dataset.for === target.id) follow(slider);
    changed(target.type === "text" ? "typing" : "done");
  });
  root.addEventListener("change", (event) => {
    if (/** @type {HTMLInputElement} */ (event.target).type === "text") changed("done");
  });
}
