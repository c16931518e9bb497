// The page: its table sorts by any heading, and the viewer shows the case that is chosen.
import { createViewer } from "./viewer.js";

const element = (id) => document.getElementById(id);
for (const [column, heading] of [...document.querySelectorAll("thead th")].entries()) {
  heading.firstChild.onclick = () => {
    const way = heading.ariaSort === "descending" ? 1 : -1, value = (row) => row.children[column].dataset.value;
    const order = (a, b) => (isNaN(value(a)) ? value(a).localeCompare(value(b)) : value(a) - value(b));
    for (const other of document.querySelectorAll("thead th")) other.ariaSort = null;
    heading.ariaSort = way === 1 ? "ascending" : "descending";
    document.querySelector("tbody").append(...[...document.querySelectorAll("tbody tr")].sort((a, b) => way * order(a, b)));
  };
}

const { cases, look } = JSON.parse(element("given").textContent), viewer = createViewer(element("stage"), look);
async function read(file, Kind) {
  const answer = await fetch(file);
  if (!answer.ok) throw new Error(`${file}: ${answer.statusText}`);
  return new Kind(await new Response(answer.body.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());
}
async function open() {
  const { facts, files, ...about } = cases[element("case").selectedIndex];
  element("facts").textContent = facts;
  try {
    const kinds = Object.keys(files);
    const arrays = await Promise.all(kinds.map((kind) => read(files[kind], kind === "imaging" ? Int16Array : Uint8Array)));
    if (facts === element("facts").textContent) viewer.show({ ...about, ...Object.fromEntries(kinds.map((kind, n) => [kind, arrays[n]])) });
  } catch (error) {
    element("facts").textContent = `This case could not be read (${error.message}); a web server must serve this folder.`;
  }
}
element("case").onchange = open;
open();
