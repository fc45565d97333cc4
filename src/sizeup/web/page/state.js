// The whole state of the page is in its address: #job?flag=value&..., a pasted configuration deflated behind it.

/** @typedef {Record<string, string>} Flags */
/** @typedef {{name: string, text: string}} Config */
/** @typedef {{job: string, flags: Flags, config: Config | null}} State */

/** @param {Uint8Array} bytes */
function toText(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** @param {string} text */
function toBytes(text) {
  return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
}

/** @param {Uint8Array} bytes @param {GenericTransformStream} through */
async function piped(bytes, through) {
  const stream = new Blob([/** @type {BlobPart} */ (bytes)]).stream().pipeThrough(through);
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** The address of a state, from the "#" on. @param {State} state */
export async function toHash(state) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(state.flags)) if (value !== "") query.set(name, value);
  if (state.config) {
    const packed = await piped(new TextEncoder().encode(state.config.text), new CompressionStream("deflate-raw"));
    query.delete("model");
    query.set("config-name", state.config.name);
    query.set("config", toText(packed));
  }
  const text = query.toString();
  return `#${state.job}${text ? `?${text}` : ""}`;
}

/** The state of an address; null where it names no job. @param {string} hash @param {string[]} jobs
 * @returns {Promise<State | null>} */
export async function fromHash(hash, jobs) {
  const [job, query] = hash.replace(/^#/, "").split(/\?(.*)/s);
  if (!jobs.includes(job)) return null;
  const given = new URLSearchParams(query ?? "");
  const packed = given.get("config");
  const name = given.get("config-name") ?? "config.json";
  given.delete("config");
  given.delete("config-name");
  /** @type {Config | null} */
  let config = null;
  if (packed) {
    try {
      const text = new TextDecoder().decode(await piped(toBytes(packed), new DecompressionStream("deflate-raw")));
      config = { name, text };
    } catch {
      config = { name, text: "" };
    }
  }
  return { job, flags: Object.fromEntries(given), config };
}
