// Files are read here: of a weight file only the header's bytes, which the same parsers then read as on disk.

/** @typedef {import("./engine.js").Engine} Engine */
/** @typedef {import("./engine.js").Reply} Reply */

const GGUF_FIRST_BYTES = 4 * 2 ** 20;
const MOST_HEAD_BYTES = 100 * 10 ** 6;
const MOST_CONFIG_BYTES = 2 ** 20;

/** How many of a file's first bytes hold its header. @param {File} file */
async function firstLength(file) {
  if (!file.name.endsWith(".safetensors")) return GGUF_FIRST_BYTES;
  const start = new DataView(await file.slice(0, 8).arrayBuffer());
  return start.byteLength < 8 ? 8 : 8 + Number(start.getBigUint64(0, true));
}

/** Read a weight file's header and have the engine keep it. @param {File} file @param {Engine} engine
 * @returns {Promise<Reply>} */
export async function holdWeights(file, engine) {
  let length = Math.min(await firstLength(file), MOST_HEAD_BYTES);
  for (;;) {
    const reply = await engine.hold(file, await file.slice(0, length).arrayBuffer());
    if (!reply.more) return reply;
    if (length >= Math.min(file.size, MOST_HEAD_BYTES)) {
      return { ok: false, error: `${file.name}: its header is longer than any that is read`, hint: "" };
    }
    length = Math.min(2 * length, MOST_HEAD_BYTES);
  }
}

/** What kind of file it is. @param {File} file @returns {"config" | "weights" | null} */
export function kindOf(file) {
  if (/\.(safetensors|gguf)$/.test(file.name)) return "weights";
  return /\.json$/.test(file.name) && file.size <= MOST_CONFIG_BYTES ? "config" : null;
}

/** Call back with a file that is dropped anywhere. @param {HTMLElement} curtain @param {(file: File) => void} take */
export function onDrop(curtain, take) {
  let depth = 0;
  /** @param {DragEvent} event */
  const carries = (event) => event.dataTransfer?.types.includes("Files") ?? false;
  const show = () => (curtain.hidden = depth <= 0);
  addEventListener("dragenter", (event) => {
    if (carries(event)) depth += 1;
    show();
  });
  addEventListener("dragleave", (event) => {
    if (carries(event)) depth -= 1;
    show();
  });
  addEventListener("dragover", (event) => {
    if (carries(event)) event.preventDefault();
  });
  addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    depth = 0;
    show();
    const file = event.dataTransfer?.files[0];
    if (file) take(file);
  });
}
