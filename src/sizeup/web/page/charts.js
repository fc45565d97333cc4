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

/** Colours of the page, so that pictures are readable in light and in dark. */
function theme() {
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--ink").trim();
  const quiet = style.getPropertyValue("--quiet").trim();
  const rule = style.getPropertyValue("--rule").trim();
  const text = { labelColor: quiet, titleColor: ink, labelFontSize: 12, titleFontSize: 12 };
  return {
    background: "transparent",
    font: style.fontFamily,
    axis: { ...text, gridColor: rule, domainColor: quiet, tickColor: quiet },
    legend: { ...text },
    header: { ...text },
    title: { color: ink, subtitleColor: quiet },
    text: { color: ink },
    rule: { color: ink },
    view: { stroke: "transparent" },
  };
}

/** @param {HTMLElement} root @param {Chart[]} charts @param {() => boolean} current */
export async function draw(root, charts, current) {
  if (!charts.length) {
    root.replaceChildren();
    return;
  }
  const embed = await load();
  if (!current()) return;
  if (!embed) {
    root.textContent = "Pictures need the charts' library: pip install vl-convert-python";
    return;
  }
  const drawn = charts.map((chart) => frame(chart));
  root.replaceChildren(...drawn.map((one) => one.figure));
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
  const spec = { ...chart.spec, title: undefined };
  const options = {
    mode: "vega-lite", ast: true, renderer: "svg", actions: false, defaultStyle: false, config: theme(), tooltip: false,
  };
  try {
    await embed(plot, spec, options);
    const svg = plot.querySelector("svg");
    svg?.setAttribute("role", "img");
    svg?.setAttribute("aria-label", `${chart.title}: ${chart.description}`);
  } catch (error) {
    plot.textContent = `This picture could not be drawn: ${error instanceof Error ? error.message : error}`;
  }
}
