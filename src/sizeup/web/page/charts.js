// Pictures: the engine sends Vega-Lite, the library draws it without evaluating any text as code.

/** @typedef {{name: string, title: string, description: string, spec: object}} Chart */

/** @type {Promise<any> | null} */
let library = null;

/** The library comes once, as a script of the page's own. @returns {Promise<any>} */
function load() {
  library ??= new Promise((resolve) => {
    const script = document.createElement("script");
    script.src = "charts-bundle.js";
    script.onload = () => resolve(/** @type {any} */ (globalThis).vegaEmbed);
    script.onerror = () => resolve(null);
    document.head.append(script);
  });
  return library;
}

/** The theme that the pictures are asked for in. */
export const theme = () => (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");

/** The pixels that a picture has across. */
export function room() {
  const answer = /** @type {HTMLElement} */ (document.getElementById("answer"));
  const padding = matchMedia("(max-width: 560px)").matches ? 2 * 15 : 2 * 20;
  return Math.floor(answer.clientWidth - padding - 2);
}

const place = () => document.getElementById("charts");

/** Keep the pictures of the last answer in the place of the new ones until those are there.
 * @param {() => void} replace puts the new answer in */
export function keeping(replace) {
  const before = [...(place()?.children ?? [])];
  replace();
  const after = place();
  if (!after || !before.length) return;
  after.dataset.stale = "";
  after.replaceChildren(...before);
}

/** @param {Chart[]} charts @param {() => boolean} current @param {{add: boolean}} how */
export async function draw(charts, current, { add }) {
  const root = place();
  if (!root) return;
  if (!charts.length) {
    if (!add) root.replaceChildren();
    return;
  }
  const embed = await load();
  if (!current()) return;
  if (!embed) {
    root.textContent = "The pictures' library cannot be loaded.";
    return;
  }
  const drawn = charts.map((chart) => frame(chart));
  const figures = drawn.map((one) => one.figure);
  if (add) root.append(...figures);
  else {
    root.replaceChildren(...figures);
    delete root.dataset.stale;
  }
  for (const { plot, chart } of drawn) {
    if (!current()) return;
    await paint(embed, plot, chart);
  }
}

/** @param {Chart} chart */
function frame(chart) {
  const figure = document.createElement("figure");
  figure.className = "block chart";
  figure.dataset.chart = chart.name;
  const title = document.createElement("h3");
  title.textContent = chart.title;
  const plot = document.createElement("div");
  plot.className = "plot";
  const caption = document.createElement("figcaption");
  caption.textContent = chart.description;
  figure.append(title, plot, caption);
  return { figure, plot, chart };
}

/** @param {any} embed @param {HTMLElement} plot @param {Chart} chart */
async function paint(embed, plot, chart) {
  const options = {
    mode: "vega-lite", ast: true, renderer: "svg", actions: false, defaultStyle: false, logLevel: 1,
    tooltip: (/** @type {any} */ _, /** @type {any} */ event, /** @type {any} */ item, /** @type {any} */ value) =>
      tell(plot, event, value),
  };
  try {
    await embed(plot, chart.spec, options);
    const svg = plot.querySelector("svg");
    svg?.setAttribute("role", "img");
    svg?.setAttribute("aria-label", `${chart.title}. ${chart.description}`);
    plot.dataset.drawn = "true";
  } catch (error) {
    plot.textContent = `This picture could not be drawn: ${error instanceof Error ? error.message : error}`;
  }
}

/** Say beside the pointer what a mark stands for. @param {HTMLElement} plot @param {MouseEvent} event
 * @param {Record<string, unknown> | string | null} value */
function tell(plot, event, value) {
  const box = /** @type {HTMLElement} */ (document.getElementById("tip"));
  box.hidden = value == null || value === "";
  if (box.hidden) return;
  const words = typeof value === "object" ? Object.entries(value ?? {}).map(([name, one]) => `${name}: ${one}`) : [value];
  box.textContent = words.join("\n");
  const left = Math.min(event.clientX + 14, innerWidth - box.offsetWidth - 8);
  box.style.translate = `${Math.max(8, left)}px ${event.clientY + 16}px`;
}
