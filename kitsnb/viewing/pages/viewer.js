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
      ${names.map((name, kind) => `<span><i style="background:${colours[kind]}"></i> ${name}</span>`).join("")}</div>
    <div class="planes">${PLANES.map((plane, across) => `<div><div class="plane">
      <canvas tabindex="-1" role="img" aria-label="${plane} section"></canvas>${letters(across)}</div>
      <input type="range" min="0" aria-label="${plane} slice"></div>`).join("")}</div><p role="status"></p>`;
  const find = (selector) => [...root.querySelectorAll(selector)];
  const canvases = find("canvas"), sliders = find("[type=range]"), layers = find("[type=checkbox]"), [status] = find("p");
  const areas = colours.map((hex) => [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16)));
  let scan = null, at = null, slices = [], low = -160, high = 240, dragged = 0;

  // A scan has shape, spacing, centre, kinds of layers, and read(across, index), which promises a slice of each.
  async function show(next) {
    [scan, slices] = [next, []];
    for (const layer of layers) layer.disabled = !scan.kinds.includes(layer.name);
    canvases.forEach((canvas, across) => {
      const [height, width] = others(across).map((axis) => scan.shape[axis] * scan.spacing[axis]);
      sliders[across].max = scan.shape[across] - 1;
      canvas.parentElement.style.cssText = `aspect-ratio:${width / height};max-width:calc(70vh * ${width / height})`;
      canvas.parentElement.parentElement.style.flexGrow = width;  // one scale for all planes, of thin slabs too
    });
    await move([...scan.centre]);
    status.textContent = "Point: HU and labels. Click: cross-hair. Drag: contrast.";
  }

  async function move(place) {
    at = place;
    place.forEach((index, across) => { sliders[across].value = index; });
    const read = await Promise.all(place.map((index, across) =>
      slices[across]?.index === index ? slices[across] : scan.read(across, index)));
    if (at !== place) return;  // moved on meanwhile
    slices = read;
    draw();
  }

  const draw = () => slices.forEach((slice, across) => canvases[across].clientWidth && drawPlane(slice, across));

  function drawPlane(slice, across) {
    const canvas = canvases[across], [down, right] = others(across), rows = scan.shape[down], columns = scan.shape[right];
    const [label, area] = layers.map((layer) => (layer.checked && slice[layer.name]) || []);
    const small = new OffscreenCanvas(columns, rows), pixels = new ImageData(columns, rows);
    slice.imaging.forEach((hu, place) => {
      const grey = 255 * (hu - low) / (high - low), colour = areas[area[place] - 1];
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
      const path = new Path2D();
      for (const [x, y, toX, toY] of lines) { path.moveTo(x * wide, y * tall); path.lineTo(toX * wide, toY * tall); }
      [pen.strokeStyle, pen.lineWidth] = [colour, width * devicePixelRatio];
      pen.stroke(path);
    };
    const x = at[right] + 0.5, y = at[down] + 0.5, borders = [[], [], []];
    stroke("rgb(255 255 255 / 40%)", 1, [[x, 0, x, rows], [0, y, columns, y]]);
    label.forEach((kind, place) => {  // tumour's border is drawn over kidney's
      const column = place % columns, row = (place - column) / columns;
      const left = column ? label[place - 1] : kind, above = row ? label[place - columns] : kind;
      if (left !== kind) borders[Math.max(left, kind)].push([column, row, column, row + 1]);
      if (above !== kind) borders[Math.max(above, kind)].push([column, row, column + 1, row]);
    });
    colours.forEach((colour, kind) => stroke(colour, 2, borders[kind + 1]));
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

  function widen({ movementX, movementY }) {
    low += movementY - movementX;
    high = Math.max(low + 10, high + movementY + movementX);
    status.textContent = `window ${low} to ${high} HU`;
    draw();
  }

  canvases.forEach((canvas, across) => {
    sliders[across].oninput = () => move(sliders.map((slider) => Number(slider.value)));
    canvas.onpointerdown = () => { dragged = 0; };
    canvas.onpointermove = (event) => {
      if (!event.buttons) return slices.length && say(pointed(event, across), across);
      dragged += Math.abs(event.movementX) + Math.abs(event.movementY);
      if (dragged > 4) widen(event);
    };
    canvas.onclick = (event) => dragged > 4 || move(pointed(event, across));
  });
  for (const layer of layers) layer.onchange = draw;
  new ResizeObserver(draw).observe(root);
  return { show };
}

function render({ model, el }) {  // for anywidget: the kernel keeps the volume and sends the slices that are asked for
  const viewer = createViewer(el, model.get("look")), waiting = {};
  const show = () => {
    const scan = model.get("scan");
    const read = (across, index) => new Promise((done) => {
      waiting[[scan.name, across, index]] = done;
      model.send({ name: scan.name, across, index });
    });
    if (scan.name) viewer.show({ ...scan, read });
  };
  model.on("msg:custom", ({ name, across, index, kinds }, buffers) => {
    const slice = { index };
    buffers.forEach(({ buffer, byteOffset, byteLength }, number) => {
      const Kind = number ? Uint8Array : Int16Array;  // the imaging comes first
      slice[kinds[number]] = new Kind(buffer.slice(byteOffset, byteOffset + byteLength));
    });
    waiting[[name, across, index]]?.(slice);
  });
  model.on("change:scan", show);
  show();
}
export default { render };
