// What moves on the review's page: languages, two views of a picture, numbers that lead to pictures, and the live examples.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
let language = "en";

function words(key, values = {}) {
  return data.words[key][language].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}
const className = (id) => (id === data.pictures.void ? words("pictures.void") : (data.classes[id] || {})[language] || String(id));

// Languages.

function speak(to) {
  language = to;
  document.documentElement.dataset.language = to;
  document.documentElement.lang = to;
  all("[data-to]").forEach((button) => button.setAttribute("aria-pressed", button.dataset.to === to));
  all("option[data-en]").forEach((option) => { option.textContent = option.dataset[to]; });
  try { localStorage.setItem("perpixel language", to); } catch { /* a page from disk may not keep anything */ }
  whenSpoken.forEach((update) => update());
}
const whenSpoken = [];
function firstLanguage() {
  const asked = new URLSearchParams(location.search).get("lang");
  let kept = null;
  try { kept = localStorage.getItem("perpixel language"); } catch { /* as above */ }
  const wanted = asked || kept || (navigator.language || "en").slice(0, 2);
  return ["en", "ko"].includes(wanted) ? wanted : "en";
}

// Pictures.

const decoded = new Map(); // packed masks -> their class ids
async function idsOf(packed) {
  if (!decoded.has(packed)) {
    const bytes = Uint8Array.from(atob(packed.ids), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    decoded.set(packed, new Response(stream).arrayBuffer().then((plain) => (packed.bytes === 2 ? new Uint16Array(plain) : new Uint8Array(plain))));
  }
  return decoded.get(packed);
}
const photos = new Map();
function photoOf(picture) {
  if (!photos.has(picture)) {
    photos.set(picture, new Promise((done, fail) => {
      const image = new Image();
      image.onload = () => done(image);
      image.onerror = fail;
      image.src = picture.photo;
    }));
  }
  return photos.get(picture);
}

// A view is "photo", "truth", "mask 3" or "errors 3".
async function paint(canvas, picture, view, cover, only = -1) {
  const [kind, place] = view.split(" ");
  const packed = kind === "mask" || kind === "errors" ? picture.masks[Number(place)] : picture.truth;
  const [height, width] = picture.truth.size;
  const [photo, truth, ids] = [await photoOf(picture), await idsOf(picture.truth), packed ? await idsOf(packed) : null];
  canvas.width = width;
  canvas.height = height;
  const pen = canvas.getContext("2d");
  pen.drawImage(photo, 0, 0, width, height);
  if (kind === "photo" || ids === null) return;
  const layer = new ImageData(width, height);
  for (let pixel = 0; pixel < ids.length; pixel++) {
    const [red, green, blue, alpha] = kind === "errors" ? errorInk(truth[pixel], ids[pixel], pixel, width) : ink(ids[pixel], cover, only);
    layer.data.set([red, green, blue, alpha], 4 * pixel);
  }
  const sheet = new OffscreenCanvas(width, height);
  sheet.getContext("2d").putImageData(layer, 0, 0);
  pen.drawImage(sheet, 0, 0);
}
function ink(id, cover, only) {
  if (id === data.pictures.void) return [0, 0, 0, 0];
  if (only >= 0 && id !== only) return [255, 255, 255, 170];
  return [...(data.pictures.colours[id] || [0, 0, 0]), Math.round(2.55 * (only >= 0 ? Math.max(cover, 60) : cover))];
}
function errorInk(truth, id, pixel, width) {
  if (truth === data.pictures.void) return [0, 0, 0, 255];
  if (truth === id) return [240, 240, 240, 190];
  const hatched = (Math.floor(pixel / width) + (pixel % width)) % 4 < 2;
  return hatched ? [176, 0, 20, 255] : [255, 176, 176, 255];
}

const viewer = { which: 0, left: "truth", right: "mask 0", only: -1, number: null };
function viewName(view) {
  const [kind, place] = view.split(" ");
  if (kind === "photo" || kind === "truth") return words(`pictures.${kind}`);
  const name = data.pictures.networks[Number(place)].title;
  return kind === "errors" ? words("pictures.errors", { name }) : name;
}
function fillViews(select, chosen) {
  const option = (view) => `<option value="${view}"${view === chosen ? " selected" : ""}></option>`;
  const networks = data.pictures.networks.map((_, place) => place);
  select.innerHTML = option("photo") + option("truth")
    + `<optgroup>${networks.map((place) => option(`mask ${place}`)).join("")}</optgroup>`
    + `<optgroup>${networks.map((place) => option(`errors ${place}`)).join("")}</optgroup>`;
  all("option", select).forEach((one) => { one.textContent = viewName(one.value); });
  const [masks, errors] = all("optgroup", select);
  masks.label = words("pictures.networks_group");
  errors.label = words("pictures.errors_group");
}
async function drawViewer() {
  const picture = data.pictures.pictures[viewer.which];
  const cover = Number(byId("cover").value);
  byId("which").value = viewer.which;
  await Promise.all([paint(byId("under"), picture, viewer.right, cover, viewer.only), paint(byId("over"), picture, viewer.left, cover, viewer.only)]);
}
function moveLine(share) {
  const percent = Math.min(100, Math.max(0, share));
  byId("line").value = percent;
  byId("over").style.clipPath = `inset(0 ${100 - percent}% 0 0)`;
  all(".edge")[0].style.left = `${percent}%`;
}
async function tellPixel(x, y) {
  const picture = data.pictures.pictures[viewer.which];
  const [height, width] = picture.truth.size;
  const pixel = Math.min(height - 1, Math.floor(y * height)) * width + Math.min(width - 1, Math.floor(x * width));
  const truth = (await idsOf(picture.truth))[pixel];
  const say = async (view) => {
    const [kind, place] = view.split(" ");
    if (kind === "photo") return words("pictures.photo");
    if (kind === "truth") return className(truth);
    const packed = picture.masks[Number(place)];
    const name = packed ? className((await idsOf(packed))[pixel]) : words("pictures.absent");
    if (kind === "mask") return name;
    if (!packed || truth === data.pictures.void) return words("pictures.void");
    return (await idsOf(packed))[pixel] === truth ? words("pictures.right_pixel") : `${name}: ${words("pictures.wrong_pixel", { name: className(truth) })}`;
  };
  const named = async (view) => (view === "photo" ? viewName(view) : `${viewName(view)} – ${await say(view)}`);
  byId("at").textContent = words("pictures.at", { left: await named(viewer.left), right: await named(viewer.right) });
}
function listFound() {
  if (!viewer.number) return;
  const { name, place } = viewer.number;
  const column = place >= 0 ? place + 2 : place === -2 ? 1 : 0; // of scores: mIoU, pixel accuracy, classes
  const scores = data.pictures.scores[name] || [];
  const what = column === 0 ? data.main : column === 1 ? words("table.pixel_accuracy") : `IoU ${className(place)}`;
  const title = (data.pictures.networks.find((one) => one.name === name) || {}).title || name;
  byId("of").textContent = words("pictures.of", { what, name: title });
  const known = scores.map((row, picture) => [row[column], picture]).filter(([score]) => score >= 0).sort((a, b) => a[0] - b[0]);
  byId("found").replaceChildren(...known.map(([score, picture]) => {
    const [item, button] = [document.createElement("li"), document.createElement("button")];
    button.type = "button";
    button.textContent = `${data.pictures.pictures[picture].name} ${(score / 10).toFixed(1)}`;
    button.setAttribute("aria-pressed", picture === viewer.which);
    button.addEventListener("click", () => { viewer.which = picture; drawViewer(); listFound(); byId("found").querySelector("[aria-pressed=true]")?.focus(); });
    item.append(button);
    return item;
  }));
  return known;
}
function showNumber(link) {
  const network = data.pictures.networks.findIndex((one) => one.name === link.dataset.network);
  const place = Number(link.dataset.class);
  viewer.number = { name: link.dataset.network, place };
  if (network >= 0) [viewer.left, viewer.right] = ["truth", `mask ${network}`];
  setOnly(place >= 0 ? place : -1);
  const known = listFound() || [];
  if (known.length) viewer.which = link.dataset.which === undefined ? known[0][1] : Number(link.dataset.which);
  listFound();
  fillViews(byId("left"), viewer.left);
  fillViews(byId("right"), viewer.right);
  drawViewer();
}
function setOnly(place) {
  viewer.only = place;
  all("[data-only]").forEach((button) => button.setAttribute("aria-pressed", Number(button.dataset.only) === place));
}

function startPictures() {
  const stage = byId("stage");
  if (!data.pictures.networks.length) viewer.right = "photo";
  const step = (by) => { const count = data.pictures.pictures.length; viewer.which = (viewer.which + by + count) % count; drawViewer(); listFound(); };
  for (const side of ["left", "right"]) byId(side).addEventListener("change", (event) => { viewer[side] = event.target.value; drawViewer(); });
  byId("which").addEventListener("change", (event) => { viewer.which = Number(event.target.value); drawViewer(); listFound(); });
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("cover").addEventListener("input", drawViewer);
  byId("line").addEventListener("input", (event) => moveLine(Number(event.target.value)));
  const follow = (event) => {
    const box = stage.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    if (event.buttons) moveLine(100 * x);
    if (x >= 0 && x < 1 && y >= 0 && y < 1) tellPixel(x, y);
  };
  stage.addEventListener("pointerdown", (event) => { stage.setPointerCapture(event.pointerId); follow(event); });
  stage.addEventListener("pointermove", follow);
  all("[data-only]").forEach((button) => button.addEventListener("click", () => {
    setOnly(button.getAttribute("aria-pressed") === "true" ? -1 : Number(button.dataset.only));
    drawViewer();
  }));
  all("a[data-network]").forEach((link) => link.addEventListener("click", () => showNumber(link)));
  whenSpoken.push(() => { fillViews(byId("left"), viewer.left); fillViews(byId("right"), viewer.right); listFound(); byId("at").textContent = ""; });
  moveLine(50);
  drawViewer();
  setTimeout(async () => {
    for (const canvas of all("canvas[data-view]")) {
      const view = ["mask", "errors"].includes(canvas.dataset.view) ? `${canvas.dataset.view} ${canvas.dataset.mask}` : canvas.dataset.view;
      await paint(canvas, data.pictures.pictures[Number(canvas.dataset.picture)], view, 70);
    }
  });
}

// The table: differences from any network.

function startTable() {
  const select = byId("reference");
  if (!select) return;
  const update = () => {
    all(".reference").forEach((one) => { one.textContent = select.selectedOptions[0].textContent; });
    all("[data-of]").forEach((cell) => {
      const { state, text } = data.differences[select.value][cell.dataset.of];
      cell.className = `detail state-${state}`;
      const said = state === "shown" ? "" : words(`table.${state}`);
      cell.querySelector(".difference").textContent = [state === "chance" ? "≈" : "", text, said].filter(Boolean).join(" ");
    });
  };
  select.addEventListener("change", update);
  whenSpoken.push(update);
}

// The data: everything in one colour.

function startConstant() {
  const select = byId("constant-class");
  if (!select) return;
  select.addEventListener("change", () => {
    for (const what of ["accuracy", "miou"]) byId(`constant-${what}`).textContent = select.selectedOptions[0].dataset[what];
  });
}

// The measures: a rectangle.

const TRUTH = { x: 40, y: 30, width: 80, height: 60 };
const FRAME = { width: 160, height: 120 };
const box = { x: 48, y: 36, width: 80, height: 60 };
const SIDES = { across: "x", down: "y", width: "width", height: "height" };
function drawRectangle() {
  box.width = Math.min(FRAME.width, Math.max(4, box.width));
  box.height = Math.min(FRAME.height, Math.max(4, box.height));
  box.x = Math.min(FRAME.width - box.width, Math.max(0, box.x));
  box.y = Math.min(FRAME.height - box.height, Math.max(0, box.y));
  const prediction = byId("rectangles").querySelector(".prediction");
  const handle = byId("rectangles").querySelector(".handle");
  for (const side of ["x", "y", "width", "height"]) prediction.setAttribute(side, box[side]);
  handle.setAttribute("x", box.x + box.width - 4);
  handle.setAttribute("y", box.y + box.height - 4);
  all("[data-side]").forEach((input) => { input.value = box[SIDES[input.dataset.side]]; });
  const across = Math.max(0, Math.min(box.x + box.width, TRUTH.x + TRUTH.width) - Math.max(box.x, TRUTH.x));
  const down = Math.max(0, Math.min(box.y + box.height, TRUTH.y + TRUTH.height) - Math.max(box.y, TRUTH.y));
  const inBoth = across * down;
  const [truth, found] = [TRUTH.width * TRUTH.height, box.width * box.height];
  const inEither = truth + found - inBoth;
  const iou = inBoth / inEither;
  byId("iou").textContent = iou.toFixed(3);
  byId("iou-both").textContent = inBoth.toLocaleString("en");
  byId("iou-either").textContent = inEither.toLocaleString("en");
  byId("iou-dice").textContent = (2 * inBoth / (truth + found)).toFixed(3);
  byId("iou-accuracy").textContent = (1 - (inEither - inBoth) / (FRAME.width * FRAME.height)).toFixed(3);
  const count = Array.from({ length: 10 }, (_, step) => 0.5 + 0.05 * step).filter((threshold) => iou >= threshold - 1e-9).length;
  byId("iou-at").textContent = words("measures.verdict_at", { count });
}
function startRectangle() {
  const svg = byId("rectangles");
  let grip = null;
  const place = (event) => {
    const frame = svg.getBoundingClientRect();
    return [(event.clientX - frame.left) / frame.width * FRAME.width, (event.clientY - frame.top) / frame.height * FRAME.height];
  };
  svg.addEventListener("pointerdown", (event) => {
    const [x, y] = place(event);
    const corner = Math.abs(x - box.x - box.width) < 10 && Math.abs(y - box.y - box.height) < 10;
    grip = corner ? { corner, x: x - box.width, y: y - box.height } : { corner, x: x - box.x, y: y - box.y };
    svg.setPointerCapture(event.pointerId);
  });
  svg.addEventListener("pointermove", (event) => {
    if (!grip) return;
    const [x, y] = place(event).map(Math.round);
    if (grip.corner) [box.width, box.height] = [Math.round(x - grip.x), Math.round(y - grip.y)];
    else [box.x, box.y] = [Math.round(x - grip.x), Math.round(y - grip.y)];
    drawRectangle();
  });
  for (const end of ["pointerup", "pointercancel"]) svg.addEventListener(end, () => { grip = null; });
  all("[data-side]").forEach((input) => input.addEventListener("input", () => { box[SIDES[input.dataset.side]] = Number(input.value); drawRectangle(); }));
  whenSpoken.push(drawRectangle);
}

// The measures: one prediction, eight mIoUs.

const mean = (values) => (values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : NaN);
function counted(truth, predicted, classes) {
  return classes.map((letter) => {
    const counts = { hits: 0, truth: 0, predicted: 0 };
    truth.forEach((one, place) => {
      counts.truth += one === letter;
      counts.predicted += predicted[place] === letter;
      counts.hits += one === letter && predicted[place] === letter;
    });
    return { ...counts, union: counts.truth + counts.predicted - counts.hits };
  });
}
function eightMIoU(truths, predictions, classes) {
  const pictures = truths.map((truth, place) => counted(truth, predictions[place], classes));
  const sum = (key, id) => pictures.reduce((total, picture) => total + picture[id][key], 0);
  const totals = classes.map((_, id) => ({ hits: sum("hits", id), truth: sum("truth", id), union: sum("union", id) }));
  const iou = (one) => one.hits / one.union;
  const judged = totals.filter((one) => one.union > 0);
  const orElse = (value) => mean(totals.map((one) => (one.union > 0 ? iou(one) : value)));
  const ofPictures = pictures.map((picture) => mean(picture.filter((one) => one.truth > 0).map(iou)));
  return {
    left_out: mean(judged.map(iou)),
    empty_is_zero: orElse(0),
    empty_is_one: orElse(1),
    truth_only: mean(totals.filter((one) => one.truth > 0).map(iou)),
    plain: orElse(NaN),
    micro: judged.reduce((total, one) => total + one.hits, 0) / judged.reduce((total, one) => total + one.union, 0),
    torchmetrics: mean(pictures.flat().filter((one) => one.union > 0).map(iou)),
    monai: mean(ofPictures),
  };
}
function startEight() {
  const letters = [...data.eight.letters];
  const truths = data.eight.truth.map((rows) => [...rows.join("")]);
  const grids = all("[data-grid]");
  const across = data.eight.truth[0][0].length;
  const letterOf = (button) => button.textContent;
  const set = (button, letter) => {
    button.textContent = letter;
    button.style.background = data.eight.colours[letters.indexOf(letter)];
  };
  const update = () => {
    const scores = eightMIoU(truths, grids.map((grid) => all("button", grid).map(letterOf)), letters);
    for (const [key, score] of Object.entries(scores)) document.querySelector(`[data-rule="${key}"]`).textContent = Number.isNaN(score) ? "nan" : score.toFixed(3);
  };
  const name = () => grids.forEach((grid) => all("button", grid).forEach((button, place) => {
    button.setAttribute("aria-label", `${words("measures.eight_cell", { row: Math.floor(place / across) + 1, column: place % across + 1 })}: ${letterOf(button)}`);
  }));
  grids.forEach((grid) => {
    const buttons = all("button", grid);
    const go = (to) => { buttons.forEach((one, place) => { one.tabIndex = place === to ? 0 : -1; }); buttons[to].focus(); };
    buttons.forEach((button, place) => {
      button.addEventListener("click", () => { set(button, letters[(letters.indexOf(letterOf(button)) + 1) % letters.length]); update(); name(); });
      button.addEventListener("keydown", (event) => {
        const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across }[event.key];
        if (by === undefined) return;
        event.preventDefault();
        go(Math.min(buttons.length - 1, Math.max(0, place + by)));
      });
    });
  });
  byId("reset").addEventListener("click", () => {
    grids.forEach((grid, number) => all("button", grid).forEach((button, place) => set(button, data.eight.prediction[number].join("")[place])));
    update();
    name();
  });
  whenSpoken.push(name);
  update();
}

all("[data-to]").forEach((button) => button.addEventListener("click", () => speak(button.dataset.to)));
if (data.pictures && data.pictures.pictures.length) startPictures();
startTable();
startConstant();
startRectangle();
startEight();
speak(firstLanguage());
