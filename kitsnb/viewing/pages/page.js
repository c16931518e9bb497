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
async function unpack(kind, file) {
  const packed = (await fetch(file)).body.pipeThrough(new DecompressionStream("gzip"));
  const bytes = await new Response(packed).arrayBuffer();
  return [kind, kind === "imaging" ? new Int16Array(bytes) : new Uint8Array(bytes)];
}
async function open() {
  const { facts, files, strides, ...about } = cases[element("case").selectedIndex], { shape } = about;
  element("facts").textContent = facts;
  try {
    const arrays = await Promise.all(Object.entries(files).map(([kind, file]) => unpack(kind, file)));
    const read = (across, index) => {
      const [down, right] = [0, 1, 2].filter((axis) => axis !== across), slice = { index };
      for (const [kind, array] of arrays) {
        slice[kind] = new array.constructor(shape[down] * shape[right]).map((_, place) => {
          const column = place % shape[right], row = (place - column) / shape[right];
          return array[index * strides[across] + row * strides[down] + column * strides[right]];
        });
      }
      return slice;
    };
    const kinds = Object.keys(files).filter((kind) => kind !== "imaging");
    if (files === cases[element("case").selectedIndex].files) viewer.show({ ...about, kinds, read });
  } catch (error) {
    element("facts").textContent = `This case could not be read (${error.message}); a web server must serve this folder.`;
  }
}
element("case").onchange = open;
open();
