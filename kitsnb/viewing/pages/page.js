// The page: the viewer shows the case that is chosen.
import { createViewer } from "./viewer.js";

const element = (id) => document.getElementById(id);
const { cases, look } = JSON.parse(element("given").textContent), viewer = createViewer(element("stage"), look);
async function open() {
  const { facts, files, shape, ...about } = cases[element("case").selectedIndex], arrays = {};
  element("facts").textContent = facts;
  for (const kind in files) {
    const packed = (await fetch(files[kind])).body.pipeThrough(new DecompressionStream("gzip"));
    arrays[kind] = new (kind === "imaging" ? Int16Array : Uint8Array)(await new Response(packed).arrayBuffer());
  }
  const read = (across, index) => {
    const [down, right] = [0, 1, 2].filter((axis) => axis !== across), steps = [shape[1] * shape[2], shape[2], 1];
    const slice = { index };
    for (const kind in arrays) {
      slice[kind] = new arrays[kind].constructor(shape[down] * shape[right]).map((_, place) => {
        const column = place % shape[right], row = (place - column) / shape[right];
        return arrays[kind][index * steps[across] + row * steps[down] + column * steps[right]];
      });
    }
    return slice;
  };
  const kinds = Object.keys(files).filter((kind) => kind !== "imaging");
  if (files === cases[element("case").selectedIndex].files) viewer.show({ ...about, shape, kinds, read });
}
element("case").onchange = open;
open();
