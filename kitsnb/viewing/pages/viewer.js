// A CT in three planes with labels over it, at its own resolution: on a page, and by anywidget in JupyterLab.
// Volumes are [slice, row, column]: from the patient's head down, from front to back, from right to left.
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
  const canvases = find("canvas"), sliders = find("[type=range]"), layers = find("[type=checkbox]");
  const [status] = find("p");
  let scan = null, at = [0, 0, 0], low = -160, high = 240, drag = null;

  function show(next) {
    scan = next;
    at = [...scan.centre];
    for (const layer of layers) layer.disabled = !scan[layer.name];
    canvases.forEach((canvas, across) => {
      const [height, width] = others(across).map((axis) => scan.shape[axis] * scan.spacing[axis]);
      sliders[across].max = scan.shape[across] - 1;
      canvas.parentElement.style.cssText = `aspect-ratio:${width / height};max-width:calc(70vh * ${width / height})`;
      canvas.parentElement.parentElement.style.flexGrow = width / height;
    });
    status.textContent = "Point: HU and labels. Click: cross-hair. Drag: contrast. Wheel, after a click: slices.";
    draw();
  }

  const draw = () => scan && canvases.forEach((canvas, across) => canvas.clientWidth && drawPlane(canvas, across));

  function drawPlane(canvas, across) {
    const [down, right] = others(across), rows = scan.shape[down], columns = scan.shape[right];
    const [label, area] = layers.map((layer) => (layer.checked && scan[layer.name]) || []);
    const voxel = (row, column) =>
      at[across] * scan.strides[across] + row * scan.strides[down] + column * scan.strides[right];
    const small = new OffscreenCanvas(columns, rows), pixels = new ImageData(columns, rows);
    for (let byte = 0; byte < pixels.data.length; byte += 4) {
      const place = voxel(Math.floor(byte / 4 / columns), (byte / 4) % columns);
      const grey = 255 * (scan.imaging[place] - low) / (high - low), colour = colours[area[place] - 1];
      for (let part = 0; part < 3; part++) pixels.data[byte + part] = colour ? (grey + colour[part]) / 2 : grey;
      pixels.data[byte + 3] = 255;
    }
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
    for (const kind of label.length ? [1, 2] : []) stroke(`rgb(${colours[kind - 1]})`, 2, border(kind));
    sliders[across].value = at[across];

    function border(kind) {
      const lines = [], inside = (row, column) => label[voxel(row, column)] === kind;
      for (let row = 1; row < rows; row++) {
        for (let column = 1; column < columns; column++) {
          const here = inside(row, column);
          if (here !== inside(row, column - 1)) lines.push([column, row, column, row + 1]);
          if (here !== inside(row - 1, column)) lines.push([column, row, column + 1, row]);
        }
      }
      return lines;
    }
  }

  function pointed(event, across) {
    const frame = canvases[across].getBoundingClientRect(), place = [...at], [down, right] = others(across);
    place[down] = within((event.clientY - frame.top) / frame.height * scan.shape[down], scan.shape[down]);
    place[right] = within((event.clientX - frame.left) / frame.width * scan.shape[right], scan.shape[right]);
    return place;
  }

  function say(place) {
    const voxel = place.reduce((sum, index, axis) => sum + index * scan.strides[axis], 0);
    const drawn = layers.filter((layer) => scan[layer.name]).map(({ name }) => `${name} ${names[scan[name][voxel] - 1] ?? "none"}`);
    status.textContent = [`slice ${place[0] + 1} of ${scan.shape[0]}`, `${scan.imaging[voxel]} HU`, ...drawn].join(" · ");
  }

  function widen(event) {
    const middle = (drag.low + drag.high) / 2 + event.clientY - drag.y;
    const half = Math.max(5, (drag.high - drag.low) / 2 + event.clientX - drag.x);
    [low, high] = [middle - half, middle + half];
    status.textContent = `window ${Math.round(low)} to ${Math.round(high)} HU`;
    draw();
  }

  canvases.forEach((canvas, across) => {
    const turn = (index) => { at[across] = within(index, scan.shape[across]); draw(); };
    sliders[across].oninput = () => turn(Number(sliders[across].value));
    canvas.onpointerdown = (event) => { drag = { x: event.clientX, y: event.clientY, low, high, moved: false }; };
    canvas.onpointermove = (event) => {
      if (!drag) return scan && say(pointed(event, across));
      drag.moved ||= Math.hypot(event.clientX - drag.x, event.clientY - drag.y) > 4;
      if (drag.moved) widen(event);
    };
    canvas.onpointerup = (event) => {
      if (drag && !drag.moved) { at = pointed(event, across); say(at); draw(); }
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

// The arrays of a scan: of each kind a stream of bytes, packed by gzip.
export async function unpack(streams) {
  const read = async ([kind, stream]) => {
    const bytes = await new Response(stream.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
    return [kind, kind === "imaging" ? new Int16Array(bytes) : new Uint8Array(bytes)];
  };
  return Object.fromEntries(await Promise.all(Object.entries(streams).map(read)));
}

function render({ model, el }) {  // for anywidget
  const viewer = createViewer(el, model.get("look"));
  const show = async () => {
    const { arrays, ...about } = model.get("scan");
    if (!arrays) return;
    const streams = Object.entries(arrays).map(([kind, bytes]) => [kind, new Blob([bytes]).stream()]);
    const unpacked = await unpack(Object.fromEntries(streams));
    if (model.get("scan").arrays === arrays) viewer.show({ ...about, ...unpacked });
  };
  model.on("change:scan", show);
  show();
}
export default { render };
