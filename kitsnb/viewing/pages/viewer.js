// A CT in three planes with labels over it, at its own resolution: on a page, and by anywidget in JupyterLab.
// Axes are slice, row, column: from the patient's head down, from front to back, from right to left.
const PLANES = ["axial", "coronal", "sagittal"], SIDES = [["top", "bottom"], ["left", "right"]];
const others = (across) => [0, 1, 2].filter((axis) => axis !== across);  // down and right in the plane
const within = (index, size) => Math.min(size - 1, Math.max(0, Math.floor(index)));

export function createViewer(root, { ends, colours, names }) {
  const letters = (across) => others(across).flatMap((axis, way) =>
    SIDES[way].map((side, end) => `<b class="${side}">${ends[axis][end]}</b>`)).join("");
  const box = (layer, how) => `<label><input type="checkbox" name="${layer}" checked> ${layer} (${how})</label>`;
  root.classList.add("viewer");
  root.innerHTML = `
    <div class="controls">${box("label", "outline")}${box("prediction", "area")}
      ${names.map((name, kind) => `<span><i style="background:rgb(${colours[kind]})"></i> ${name}</span>`).join("")}</div>
    <div class="planes">${PLANES.map((plane, across) => `<div><div class="plane">
      <canvas tabindex="-1" role="img" aria-label="${plane} section"></canvas>${letters(across)}</div>
      <input type="range" min="0" aria-label="${plane} slice"></div>`).join("")}</div><p role="status"></p>`;
  const find = (selector) => [...root.querySelectorAll(selector)];
  const canvases = find("canvas"), sliders = find("[type=range]"), layers = find("[type=checkbox]"), [status] = find("p");
  let scan = null, at = null, slices = [], low = -160, high = 240, drag = null;

  // A scan has shape, spacing, centre, kinds of layers, and read(across, index), which promises a slice of each.
  async function show(next) {
    [scan, slices] = [next, []];
    for (const layer of layers) layer.disabled = !scan.kinds.includes(layer.name);
    canvases.forEach((canvas, across) => {
      const [height, width] = others(across).map((axis) => scan.shape[axis] * scan.spacing[axis]);
      sliders[across].max = scan.shape[across] - 1;
      canvas.parentElement.style.cssText = `aspect-ratio:${width / height};max-width:calc(70vh * ${width / height})`;
      canvas.parentElement.parentElement.style.flexGrow = width / height;
    });
    await move([...scan.centre]);
    status.textContent = "Point: HU and labels. Click: cross-hair. Drag: contrast. Wheel, after a click: slices.";
  }

  async function move(place) {
    const mine = scan;
    at = place;
    place.forEach((index, across) => { sliders[across].value = index; });
    const read = await Promise.all(place.map((index, across) =>
      slices[across]?.index === index ? slices[across] : mine.read(across, index)));
    if (scan !== mine || at !== place) return;  // moved on meanwhile
    slices = read;
    draw();
  }

  const draw = () => slices.forEach((slice, across) => canvases[across].clientWidth && drawPlane(slice, across));

  function drawPlane(slice, across) {
    const canvas = canvases[across], [down, right] = others(across), rows = scan.shape[down], columns = scan.shape[right];
    const [label, area] = layers.map((layer) => (layer.checked && slice[layer.name]) || []);
    const small = new OffscreenCanvas(columns, rows), pixels = new ImageData(columns, rows);
    slice.imaging.forEach((hu, place) => {
      const grey = 255 * (hu - low) / (high - low), colour = colours[area[place] - 1];
      for (let part = 0; part < 3; part++) pixels.data[4 * place + part] = colour ? (grey + colour[part]) / 2 : grey;
      pixels.data[4 * place + 3] = 255;
    });
    small.getContext("2d").putImageData(pixels, 0, 0);
    canvas.width = canvas.clientWidth * devicePixelRatio;
    canvas.height = canvas.clientHeight * devicePixelRatio;
    const pen = canvas.getContext("2d"), wide = canvas.width / columns, tall = canvas.height / rows;
    pen.imageSmoothingEnabled = false;
    pen.drawImage(small, 0, 0, canvas.width, canvas.height);
    const stroke = (colour, width, lines) => {
      pen.beginPath();
      for (const [x, y, toX, toY] of lines) { pen.moveTo(x * wide, y * tall); pen.lineTo(toX * wide, toY * tall); }
      [pen.strokeStyle, pen.lineWidth] = [colour, width * devicePixelRatio];
      pen.stroke();
    };
    const x = at[right] + 0.5, y = at[down] + 0.5;
    stroke("rgb(255 255 255 / 40%)", 1, [[x, 0, x, rows], [0, y, columns, y]]);
    for (const kind of label.length ? [1, 2] : []) {
      const lines = [];
      label.forEach((value, place) => {
        const column = place % columns, row = (place - column) / columns, here = value === kind;
        if (column && here !== (label[place - 1] === kind)) lines.push([column, row, column, row + 1]);
        if (row && here !== (label[place - columns] === kind)) lines.push([column, row, column + 1, row]);
      });
      stroke(`rgb(${colours[kind - 1]})`, 2, lines);
    }
  }

  function pointed(event, across) {
    const frame = canvases[across].getBoundingClientRect(), place = [...at], [down, right] = others(across);
    place[down] = within((event.clientY - frame.top) / frame.height * scan.shape[down], scan.shape[down]);
    place[right] = within((event.clientX - frame.left) / frame.width * scan.shape[right], scan.shape[right]);
    return place;
  }

  function say(place, across) {
    const [down, right] = others(across), slice = slices[across], voxel = place[down] * scan.shape[right] + place[right];
    const drawn = scan.kinds.map((kind) => `${kind} ${names[slice[kind][voxel] - 1] ?? "none"}`);
    status.textContent = [`slice ${place[0] + 1} of ${scan.shape[0]}`, `${slice.imaging[voxel]} HU`, ...drawn].join(" · ");
  }

  function widen(event) {
    const middle = (drag.low + drag.high) / 2 + event.clientY - drag.y;
    const half = Math.max(5, (drag.high - drag.low) / 2 + event.clientX - drag.x);
    [low, high] = [middle - half, middle + half];
    status.textContent = `window ${Math.round(low)} to ${Math.round(high)} HU`;
    draw();
  }

  canvases.forEach((canvas, across) => {
    const turn = (index) => move(at.map((old, axis) => (axis === across ? within(index, scan.shape[axis]) : old)));
    sliders[across].oninput = () => turn(Number(sliders[across].value));
    canvas.onpointerdown = (event) => { drag = { x: event.clientX, y: event.clientY, low, high, moved: false }; };
    canvas.onpointermove = (event) => {
      if (!drag) return slices.length && say(pointed(event, across), across);
      drag.moved ||= Math.hypot(event.clientX - drag.x, event.clientY - drag.y) > 4;
      if (drag.moved) widen(event);
    };
    canvas.onpointerup = (event) => {
      if (drag && !drag.moved) move(pointed(event, across));
      drag = null;
    };
    canvas.onpointerleave = canvas.onpointercancel = () => { drag = null; };
    canvas.onwheel = (event) => {
      if (document.activeElement !== canvas) return;
      event.preventDefault();
      turn(at[across] + Math.sign(event.deltaY));
    };
  });
  for (const layer of layers) layer.onchange = draw;
  new ResizeObserver(draw).observe(root);
  return { show };
}

function render({ model, el }) {  // for anywidget: the kernel keeps the volume and sends the slices that are asked for
  const viewer = createViewer(el, model.get("look")), waiting = {};
  const show = () => {
    const { name, kinds, ...about } = model.get("scan");
    const read = (across, index) => new Promise((done) => {
      waiting[[name, across, index]] = done;
      model.send({ name, across, index });
    });
    if (name) viewer.show({ ...about, kinds: kinds.filter((kind) => kind !== "imaging"), read });
  };
  model.on("msg:custom", ({ name, across, index, kinds }, buffers) => {
    const arrays = buffers.map(({ buffer, byteOffset, byteLength }, number) =>
      new (kinds[number] === "imaging" ? Int16Array : Uint8Array)(buffer.slice(byteOffset, byteOffset + byteLength)));
    waiting[[name, across, index]]?.({ index, ...Object.fromEntries(kinds.map((kind, number) => [kind, arrays[number]])) });
  });
  model.on("change:scan", show);
  show();
}
export default { render };
