// Who answers: the local server that serves this page, or Python in a worker of this browser.

/** @typedef {Record<string, any>} Reply */
/** @typedef {{ask(request: object): Promise<Reply>, hold(file: File, head: ArrayBuffer): Promise<Reply>}} Engine */
/** @typedef {(share: number, words: string) => void} Progress */

const NO_SERVER = { ok: false, error: "the program that answers has stopped", hint: "start it again: sizeup web" };

/** @param {Response} response @returns {Promise<Reply>} */
async function body(response) {
  try {
    return await response.json();
  } catch {
    return { ok: false, error: `the server said ${response.status}`, hint: "" };
  }
}

/** Asks the server over HTTP. @returns {Engine} */
export function localEngine() {
  return {
    async ask(request) {
      const text = JSON.stringify(request);
      try {
        return await body(
          await fetch("api/ask", { method: "POST", headers: { "Content-Type": "application/json" }, body: text }),
        );
      } catch {
        return NO_SERVER;
      }
    },
    async hold(file, head) {
      const headers = {
        "Content-Type": "application/octet-stream",
        "X-File-Name": encodeURIComponent(file.name),
        "X-File-Size": String(file.size),
      };
      try {
        return await body(await fetch("api/hold", { method: "POST", headers, body: head }));
      } catch {
        return NO_SERVER;
      }
    },
  };
}

/** Starts Python in a worker; questions wait until it is ready. @param {Progress} progress @returns {Engine} */
export function workerEngine(progress) {
  const worker = new Worker("worker.js", { type: "module" });
  /** @type {Map<number, (reply: Reply) => void>} */
  const waiting = new Map();
  let count = 0;
  /** @type {Reply | null} */
  let broken = null;

  /** @param {string} message */
  function fail(message) {
    broken = { ok: false, error: `the engine did not start: ${message}`, hint: "reload the page" };
    progress(1, "the engine did not start");
    for (const resolve of waiting.values()) resolve(broken);
    waiting.clear();
  }
  worker.addEventListener("error", (event) => fail(event.message || "its files cannot be loaded"));
  worker.addEventListener("message", ({ data }) => {
    if (data.failed) return fail(data.failed);
    if (data.progress !== undefined) return progress(data.progress, data.words);
    waiting.get(data.id)?.(data.reply);
    waiting.delete(data.id);
  });

  /** @param {object} message @param {Transferable[]} [moved] @returns {Promise<Reply>} */
  function send(message, moved = []) {
    if (broken) return Promise.resolve(broken);
    const id = ++count;
    return new Promise((resolve) => {
      waiting.set(id, resolve);
      worker.postMessage({ id, ...message }, moved);
    });
  }
  return {
    ask: (request) => send({ request }),
    hold: (file, head) => send({ name: file.name, size: file.size, head }, [head]),
  };
}
