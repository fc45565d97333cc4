// Adds compiled modules to the package's archive, made by the Python that will import them: node compile_page.mjs ZIP
// They are marked as unchecked: the archive is built whole, its sources and what they compile to never part.

import { readFileSync, writeFileSync } from "node:fs";
import { loadPyodide } from "pyodide";

const [archive] = process.argv.slice(2);
const python = await loadPyodide();
python.FS.writeFile("/package.zip", new Uint8Array(readFileSync(archive)));
python.runPython(`
import compileall, os, py_compile, zipfile
LONG_AGO = (1980, 1, 1, 0, 0, 0)
with zipfile.ZipFile("/package.zip") as file:
    file.extractall("/app")
mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
assert compileall.compile_dir("/app", quiet=1, ddir="/app", invalidation_mode=mode)
with zipfile.ZipFile("/package.zip", "a", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
    for folder, _, names in sorted(os.walk("/app")):
        for name in sorted(names):
            if name.endswith(".pyc"):
                path = os.path.join(folder, name)
                entry = zipfile.ZipInfo(os.path.relpath(path, "/app"), LONG_AGO)
                entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                with open(path, "rb") as code:
                    file.writestr(entry, code.read())
`);
writeFileSync(archive, python.FS.readFile("/package.zip"));
