// Python in a worker: the same package as on the command line, answering the same questions. Nothing is fetched but
// the files beside this one.

import { columnLoops } from "./columns.js";
// @ts-ignore: put beside this file when the page is built
import { loadPyodide } from "./pyodide/pyodide.mjs";

/** How far each step of the start is when it begins, and what it is. @type {[number, string][]} */
const STEPS = [
  [0.05, "loading Python"],
  [0.65, "loading the models and prices"],
  [0.8, "starting"],
  [1, "answered in this browser"],
];

/** @param {number} index */
function report(index) {
  const [progress, words] = STEPS[index];
  postMessage({ progress, words });
}

const START = `
import os, sys
sys.path.insert(0, "/app")
from sizeup.web.columns import accelerate
from sizeup.web.stand_in import install
install()
import json
from sizeup.web.bridge import Bridge
bridge = Bridge()

def ask(text):
    return json.dumps(bridge.answer(json.loads(text)))

def hold(name, head, size):
    return json.dumps(bridge.hold(name, head.to_bytes(), int(size)))
`;

/** What a first question would otherwise wait for, loaded while nobody asks. */
const WARM = "import sizeup.training.scenario, sizeup.serving.scenario, sizeup.render.charts";

async function start() {
  report(0);
  const [python, archive] = await Promise.all([
    loadPyodide({ indexURL: new URL("pyodide/", import.meta.url).href }),
    fetch("sizeup.zip").then((response) => {
      if (!response.ok) throw new Error(`sizeup.zip: ${response.status}`);
      return response.arrayBuffer();
    }),
  ]);
  report(1);
  python.unpackArchive(archive, "zip", { extractDir: "/app" });
  report(2);
  python.runPython(START);
  python.globals.get("accelerate")(columnLoops(() => python._module.HEAPF64.buffer));
  report(3);
  setTimeout(() => python.runPython(WARM), 0);
  return python;
}

const started = start();
started.catch((error) => postMessage({ failed: String(error?.message ?? error).split("\n").at(-2) ?? "unknown" }));

addEventListener("message", async ({ data }) => {
  const python = await started.catch(() => null);
  if (!python) return;
  const { id, request, name, head, size } = data;
  const text = request
    ? python.globals.get("ask")(JSON.stringify(request))
    : python.globals.get("hold")(name, new Uint8Array(head), size);
  postMessage({ id, reply: JSON.parse(text) });
});
