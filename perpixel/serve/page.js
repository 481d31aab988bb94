// The page of `perpixel serve`. Masks are PNG files of values, which are read here byte by byte, so that a class is known by its
// value and not by its colour. Nothing is asked of another machine.
"use strict";

const TEXTS = {
  en: {
    skip: "Skip to the result", lead: "A picture in, the class of every pixel out. Pictures stay on the machine that serves this page.",
    token: "This service asks for a token.", use_token: "Use it", drop: "Drop or paste pictures here", choose: "Choose pictures",
    folder: "Choose a folder", camera: "Take a photo", model: "Model", second: "Beside it", nobody: "no other model",
    batch: "Pictures", stop: "Stop", zip: "Download all masks", opacity: "Opacity of the mask", get_mask: "Mask (PNG)",
    get_overlay: "Overlay (PNG)", get_coco: "COCO JSON", get_scores: "Scores (.npy)", get_instances: "Objects (JSON)",
    all: "All classes", none: "No class", api: "For programs: /openapi.json", languages: "Language",
    working: (name) => `${name}: is being predicted ...`, done: (name, seconds) => `${name}: predicted in ${seconds} s.`,
    counts: (done, all, failed) => `${done} of ${all} predicted${failed ? `, ${failed} failed` : ""}`,
    waiting: (name, seconds) => `${name}: the service is busy; trying again in ${seconds} s.`, waits: "waits", runs: "runs",
    show: "Show", no_pictures: "There is no picture among these files.",
    left_out: (number) => `${number} ${number > 1 ? "files are no pictures and are" : "file is no picture and is"} left out.`,
    unreachable: "The service cannot be reached; is it running?",
    shown: (name, model) => `${name}, with the mask of ${model}`, void: "void", at: (name) => `Here: ${name}`,
    unseen: "This browser cannot show the picture; its mask is shown alone.", stopped: "Stopped.",
    correct: "Correct the mask", brush: "Brush", polygon: "Polygon", fill: "Fill", paint_with: "Class", width: "Width", undo: "Undo", name: "Name",
    keep: "Save for training", kept: (name) => `Saved for training as ${name}.`, how_brush: "Draw on the picture.",
    how_polygon: "Click the corners; Enter or a double click closes the polygon, Escape drops it.",
    how_fill: "Click a region: all of its pixels that touch get the class.", point: "Point at the picture: its class is named here.",
  },
  ko: {
    skip: "결과로 건너뛰기", lead: "사진을 넣으면 모든 픽셀의 클래스를 알려 줍니다. 사진은 이 페이지를 제공하는 컴퓨터를 벗어나지 않습니다.",
    token: "이 서비스는 토큰이 필요합니다.", use_token: "사용", drop: "여기에 사진을 끌어 놓거나 붙여 넣으세요", choose: "사진 고르기",
    folder: "폴더 고르기", camera: "사진 찍기", model: "모델", second: "나란히 볼 모델", nobody: "없음",
    batch: "사진 목록", stop: "멈추기", zip: "모든 마스크 내려받기", opacity: "마스크 불투명도", get_mask: "마스크 (PNG)",
    get_overlay: "겹친 그림 (PNG)", get_coco: "COCO JSON", get_scores: "점수 (.npy)", get_instances: "객체 (JSON)",
    all: "모든 클래스", none: "클래스 숨기기", api: "프로그램용: /openapi.json", languages: "언어",
    working: (name) => `${name}: 예측하고 있습니다 ...`, done: (name, seconds) => `${name}: ${seconds}초 만에 예측했습니다.`,
    counts: (done, all, failed) => `${all}장 중 ${done}장 예측${failed ? `, ${failed}장 실패` : ""}`,
    waiting: (name, seconds) => `${name}: 서비스가 바쁩니다. ${seconds}초 뒤에 다시 시도합니다.`, waits: "대기", runs: "예측 중",
    show: "보기", no_pictures: "이 파일들 가운데 사진이 없습니다.",
    left_out: (number) => `사진이 아닌 파일 ${number}개는 뺐습니다.`,
    unreachable: "서비스에 연결할 수 없습니다. 실행 중인지 확인하세요.",
    shown: (name, model) => `${name}, ${model}의 마스크를 겹친 그림`, void: "미정", at: (name) => `이 위치: ${name}`,
    unseen: "이 브라우저는 이 사진을 보여 줄 수 없어 마스크만 보여 줍니다.", stopped: "멈췄습니다.",
    correct: "마스크 고치기", brush: "붓", polygon: "다각형", fill: "채우기", paint_with: "클래스", width: "굵기", undo: "되돌리기", name: "이름",
    keep: "학습용으로 저장", kept: (name) => `${name}(으)로 저장했습니다. 학습에 쓸 수 있습니다.`, how_brush: "사진 위에 그리세요.",
    how_polygon: "꼭짓점을 클릭하세요. Enter나 더블 클릭으로 닫고, Escape로 취소합니다.",
    how_fill: "영역을 클릭하면 이어진 픽셀이 모두 그 클래스가 됩니다.", point: "사진 위를 가리키면 그 위치의 클래스를 알려 줍니다.",
  },
};
const PICTURE = /\.(png|jpe?g|webp|tiff?|bmp|gif)$/i;
const MOST_TRIES = 20; // of a picture that the service is too busy for

const by = (id) => document.getElementById(id);
const texts = () => TEXTS[document.documentElement.lang];
let models = [];
let token = "";
let batch = []; // {file, state, answers: {model name: answer}, line}
let shown = null; // the item of the batch that is shown
let leftOut = 0; // files that are no pictures
let running = null; // an AbortController while the batch runs
let say = () => ["", false]; // what the line of state says, in the language of the moment

function state(text, bad = false) {
  say = text;
  by("state").textContent = text();
  by("state").classList.toggle("bad", bad);
}

function speak(language) {
  document.documentElement.lang = language;
  try { localStorage.setItem("perpixel language", language); } catch { /* a browser that keeps nothing */ }
  for (const place of document.querySelectorAll("[data-text]")) place.textContent = texts()[place.dataset.text];
  for (const button of document.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", String(button.dataset.language === language));
  }
  document.querySelector(".languages").setAttribute("aria-label", texts().languages);
  const nobody = by("second").options[0];
  if (nobody) nobody.textContent = texts().nobody;
  by("state").textContent = say();
  if (batch.length) { count(); for (const item of batch) tell(item); }
  if (shown) show(shown);
}

// Asking the service.

function headers(file) {
  const given = token ? { Authorization: `Bearer ${token}` } : {};
  if (file) given["Content-Type"] = file.type.startsWith("image/") ? file.type : "application/octet-stream";
  return given;
}

class Refusal extends Error {
  constructor(status, sentence, after) { super(sentence); this.status = status; this.after = after; }
}

async function ask(address, options = {}) {
  let answer;
  try {
    answer = await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, texts().unreachable);
  }
  if (answer.ok) return answer;
  const sentence = await answer.json().then((body) => body.error, () => answer.statusText);
  throw new Refusal(answer.status, sentence, Number(answer.headers.get("Retry-After")));
}

async function predict(file, model, form, signal) {
  const query = new URLSearchParams({ model, as: form, name: file.name.slice(0, 255) });
  for (let tries = 1; ; tries++) {
    try {
      return await (await ask(`/predict?${query}`, { method: "POST", body: file, headers: headers(file), signal })).blob();
    } catch (error) {
      if (!(error instanceof Refusal) || error.status !== 429 || tries >= MOST_TRIES) throw error;
      const seconds = Math.min(60, error.after || 1);
      state(() => texts().waiting(file.name, seconds));
      await new Promise((resolve, reject) => {
        const timer = setTimeout(resolve, 1000 * seconds);
        signal?.addEventListener("abort", () => { clearTimeout(timer); reject(new DOMException("", "AbortError")); }, { once: true });
      });
    }
  }
}

// The values of a mask. A PNG as perpixel writes it: one channel of 8 or 16 bits, not interlaced.

async function readMask(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer()), view = new DataView(bytes.buffer);
  let place = 8, width = 0, height = 0, deep = 1;
  const parts = [];
  while (place < bytes.length) {
    const length = view.getUint32(place), kind = String.fromCharCode(...bytes.subarray(place + 4, place + 8)), start = place + 8;
    if (kind === "IHDR") { width = view.getUint32(start); height = view.getUint32(start + 4); deep = bytes[start + 8] / 8; }
    if (kind === "IDAT") parts.push(bytes.subarray(start, start + length));
    place = start + length + 4;
  }
  const stream = new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate"));
  const raw = new Uint8Array(await new Response(stream).arrayBuffer());
  const stride = width * deep, rows = new Uint8Array(height * stride), values = new Uint16Array(width * height);
  for (let y = 0; y < height; y++) {
    const filter = raw[y * (stride + 1)], from = y * (stride + 1) + 1, to = y * stride;
    for (let x = 0; x < stride; x++) {
      const left = x >= deep ? rows[to + x - deep] : 0, up = y ? rows[to + x - stride] : 0;
      const corner = y && x >= deep ? rows[to + x - stride - deep] : 0;
      let guess = 0;
      if (filter === 1) guess = left;
      else if (filter === 2) guess = up;
      else if (filter === 3) guess = (left + up) >> 1;
      else if (filter === 4) {
        const all = left + up - corner, a = Math.abs(all - left), b = Math.abs(all - up), c = Math.abs(all - corner);
        guess = a <= b && a <= c ? left : b <= c ? up : corner;
      }
      rows[to + x] = raw[from + x] + guess;
    }
  }
  for (let i = 0; i < values.length; i++) values[i] = deep === 1 ? rows[i] : (rows[2 * i] << 8) | rows[2 * i + 1];
  return { width, height, values };
}

function sharesOf(mask) {
  const counts = new Map();
  for (const value of mask.values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return new Map([...counts].map(([value, count]) => [value, count / mask.values.length]));
}

// The batch: one picture after the other, so that a folder leaves room for others.

function add(files) {
  const pictures = [...files].filter((file) => file.type.startsWith("image/") || PICTURE.test(file.name));
  if (!pictures.length) return state(() => texts().no_pictures, true);
  running?.abort();
  for (const item of batch) for (const answer of Object.values(item.answers)) if (answer.address) URL.revokeObjectURL(answer.address);
  by("list").replaceChildren();
  shown = null;
  batch = pictures.map((file) => {
    const line = document.createElement("li"), name = document.createElement("span"), told = document.createElement("span");
    const button = document.createElement("button");
    name.textContent = file.webkitRelativePath || file.name;
    button.type = "button";
    button.hidden = true;
    line.append(name, told, button);
    by("list").append(line);
    const item = { file, state: "waits", answers: {}, told, button };
    button.addEventListener("click", () => { show(item); by("result").focus({ preventScroll: true }); by("result").scrollIntoView(); });
    return item;
  });
  by("batch").hidden = batch.length < 2;
  leftOut = files.length - pictures.length;
  run();
}

function tell(item) {
  item.told.textContent = item.state === "done" ? "" : texts()[item.state] ?? item.state;
  item.told.classList.toggle("bad", item.state === item.sentence);
  item.button.hidden = item.state !== "done";
  item.button.textContent = texts().show;
  item.button.setAttribute("aria-label", `${texts().show}: ${item.file.name}`);
}

function count() {
  const done = batch.filter((item) => item.state === "done").length, failed = batch.filter((item) => item.state === item.sentence).length;
  by("progress").max = batch.length;
  by("progress").value = done + failed;
  by("counts").textContent = `${texts().counts(done, batch.length, failed)}${leftOut ? `. ${texts().left_out(leftOut)}` : ""}`;
  by("zip").disabled = !done;
}

const chosen = () => [by("model").value, by("second").value].filter((name) => name);

async function run() {
  const control = new AbortController(), mine = batch, names = chosen();
  running = control;
  by("stop").disabled = false;
  for (const item of mine) { if (item.state !== "done" || names.some((name) => !item.answers[name])) item.state = "waits"; tell(item); }
  count();
  for (const item of mine) {
    if (item.state === "done") continue;
    const began = performance.now();
    item.state = "runs";
    tell(item);
    state(() => texts().working(item.file.name));
    try {
      for (const name of names) {
        if (item.answers[name]) continue;
        const blob = await predict(item.file, name, "mask", control.signal), mask = await readMask(blob);
        item.answers[name] = { blob, mask, shares: sharesOf(mask) };
      }
      item.state = "done";
      const seconds = ((performance.now() - began) / 1000).toFixed(1);
      state(() => texts().done(item.file.name, seconds));
    } catch (error) {
      if (error.name === "AbortError") {
        item.state = "waits";
        if (mine === batch && running === control) { state(() => texts().stopped); tell(item); by("stop").disabled = true; }
        return;
      }
      item.sentence = item.state = error.message;
      state(() => `${item.file.name}: ${error.message}`, true);
      if (error.status === 401) by("token-form").hidden = false;
    }
    if (running !== control) return;
    tell(item);
    count();
    if (item.state === "done" && (!shown || shown === item)) await show(item);
  }
  by("stop").disabled = true;
}

// The result: a pane for each model.

const off = new Set(); // "model value" of the classes that are not drawn

async function show(item) {
  shown = item;
  const names = chosen().filter((name) => item.answers[name]);
  let picture = null;
  try { picture = await createImageBitmap(item.file); } catch { /* such as TIFF */ }
  if (shown !== item) return;
  by("result-title").textContent = item.file.name;
  by("panes").replaceChildren(...names.map((name) => pane(item, models.find((model) => model.name === name), picture)));
  by("result").hidden = false;
  opacity();
}

function pane(item, model, picture) {
  const answer = item.answers[model.name], { mask } = answer, root = by("pane").content.cloneNode(true).firstElementChild;
  const [photo, over] = root.querySelectorAll("canvas"), under = root.querySelector(".under");
  root.querySelector("h3").textContent = `${model.name} (${model.network})`;
  photo.parentElement.style.maxWidth = `${(75 * mask.width) / mask.height}vh`;
  for (const canvas of [photo, over]) { canvas.width = mask.width; canvas.height = mask.height; }
  photo.setAttribute("aria-label", texts().shown(item.file.name, model.name));
  if (picture) photo.getContext("2d").drawImage(picture, 0, 0, mask.width, mask.height);
  under.textContent = picture ? texts().point : texts().unseen;
  const named = new Map(model.classes.map((one) => [one.value, one.name]));
  photo.parentElement.addEventListener("pointermove", (event) => {
    const box = over.getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * mask.width), y = Math.floor(((event.clientY - box.top) / box.height) * mask.height);
    if (x >= 0 && y >= 0 && x < mask.width && y < mask.height) under.textContent = texts().at(named.get(mask.values[y * mask.width + x]) ?? texts().void);
  });
  const draw = () => paint(over, mask, model);
  const list = root.querySelector(".classes");
  const name = () => {
    const { shares } = answer, present = model.classes.filter((one) => shares.has(one.value));
    present.sort((a, b) => shares.get(b.value) - shares.get(a.value));
    list.replaceChildren(...present.map((one) => classLine(model, one, shares.get(one.value), draw)));
  };
  const changed = async () => {
    answer.shares = sharesOf(mask);
    name();
    draw();
    answer.blob = await writeMask(mask);
    URL.revokeObjectURL(answer.address);
    link.href = answer.address = URL.createObjectURL(answer.blob);
  };
  name();
  for (const [kind, checked] of [["all", true], ["none", false]]) {
    root.querySelector(`.${kind}`).addEventListener("click", () => {
      for (const box of list.querySelectorAll("input")) { box.checked = checked; box.dispatchEvent(new Event("change")); }
    });
  }
  correcting(root, item, model, over, draw, changed);
  for (const place of root.querySelectorAll("[data-text]")) place.textContent = texts()[place.dataset.text];
  const stem = item.file.name.replace(/\.[^.]*$/, "");
  const link = root.querySelector("a[data-form]");
  link.href = answer.address ??= URL.createObjectURL(answer.blob);
  link.download = `${stem}.png`;
  for (const button of root.querySelectorAll("button[data-form]")) {
    const form = button.dataset.form, end = { overlay: "-overlay.png", coco: "-coco.json", scores: ".npy", instances: "-objects.json" }[form];
    button.hidden = !model.forms.includes(form);
    button.addEventListener("click", async () => {
      button.disabled = true;
      try { save(await predict(item.file, model.name, form), stem + end); } catch (error) { state(() => error.message, true); }
      button.disabled = false;
    });
  }
  draw();
  return root;
}

function classLine(model, one, share, draw) {
  const line = document.createElement("li"), label = document.createElement("label"), box = document.createElement("input");
  const name = document.createElement("span"), told = document.createElement("span"), key = `${model.name} ${one.value}`;
  const swatch = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const square = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  for (const [attribute, value] of Object.entries({ width: "100%", height: "100%", fill: one.colour, stroke: "currentColor" })) square.setAttribute(attribute, value);
  swatch.setAttribute("aria-hidden", "true");
  swatch.append(square);
  box.type = "checkbox";
  box.checked = !off.has(key);
  box.addEventListener("change", () => { if (box.checked) off.delete(key); else off.add(key); draw(); });
  name.textContent = one.name;
  told.textContent = share < 0.0005 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`;
  told.className = "share";
  label.append(box, swatch, name, told);
  line.append(label);
  return line;
}

function paint(canvas, mask, model) {
  const context = canvas.getContext("2d"), picture = context.createImageData(mask.width, mask.height);
  const pixels = new Uint32Array(picture.data.buffer), table = new Uint32Array(65536);
  for (const one of model.classes) {
    const [red, green, blue] = [1, 3, 5].map((at) => parseInt(one.colour.slice(at, at + 2), 16));
    if (!off.has(`${model.name} ${one.value}`)) table[one.value] = (255 << 24) | (blue << 16) | (green << 8) | red;
  }
  for (let i = 0; i < pixels.length; i++) pixels[i] = table[mask.values[i]];
  context.putImageData(picture, 0, 0);
}

function opacity() {
  const value = by("opacity").value;
  by("opacity-value").textContent = `${value} %`;
  for (const canvas of document.querySelectorAll("canvas.mask")) canvas.style.opacity = value / 100;
}

// Correcting a mask, and keeping it as a training pair.

function correcting(root, item, model, canvas, draw, changed) {
  const { mask } = item.answers[model.name], tools = root.querySelector(".tools"), open = root.querySelector(".correct");
  const select = root.querySelector(".with"), undo = root.querySelector(".undo"), how = root.querySelector(".how"), before = [];
  const area = canvas.parentElement, width = root.querySelector(".width");
  let tool = "brush", last = null, corners = [];
  open.hidden = !model.saves;
  root.querySelector(".name").value = item.file.name.slice(0, 200);
  select.append(...[...model.classes, { name: texts().void, value: model.void }].map((one) => Object.assign(document.createElement("option"), { value: one.value, textContent: one.name })));
  const begin = () => { before.push(mask.values.slice()); if (before.length > 10) before.shift(); undo.disabled = false; };
  const choose = (name) => {
    tool = name;
    corners = [];
    how.textContent = texts()[`how_${tool}`];
    for (const button of root.querySelectorAll("[data-tool]")) button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
  };
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * mask.width, ((event.clientY - box.top) / box.height) * mask.height];
  };
  const closePolygon = () => {
    if (corners.length > 2) { begin(); fillPolygon(mask, corners, Number(select.value)); }
    corners = [];
    changed();
  };
  open.addEventListener("click", () => {
    tools.hidden = !tools.hidden;
    area.classList.toggle("painted", !tools.hidden);
    open.setAttribute("aria-expanded", String(!tools.hidden));
    choose(tool);
  });
  for (const button of root.querySelectorAll("[data-tool]")) button.addEventListener("click", () => choose(button.dataset.tool));
  undo.addEventListener("click", () => { mask.values.set(before.pop()); undo.disabled = !before.length; changed(); });
  area.addEventListener("pointerdown", (event) => {
    if (tools.hidden || event.button) return;
    event.preventDefault();
    const place = at(event);
    if (tool === "polygon") { corners.push(place); draw(); outline(canvas, corners); return; }
    begin();
    if (tool === "fill") { flood(mask, place, Number(select.value)); return changed(); }
    area.setPointerCapture(event.pointerId);
    last = place;
    stroke(mask, last, last, Number(width.value) / 2, Number(select.value));
    draw();
  });
  area.addEventListener("pointermove", (event) => {
    if (!last) return;
    const place = at(event);
    stroke(mask, last, place, Number(width.value) / 2, Number(select.value));
    last = place;
    draw();
  });
  for (const kind of ["pointerup", "pointercancel"]) area.addEventListener(kind, () => { if (last) { last = null; changed(); } });
  area.addEventListener("dblclick", closePolygon);
  root.addEventListener("keydown", (event) => {
    if (!corners.length || !["Enter", "Escape"].includes(event.key)) return;
    event.preventDefault();
    if (event.key === "Escape") corners = [];
    closePolygon();
  });
  root.querySelector(".keep").addEventListener("click", async (event) => {
    event.target.disabled = true;
    try {
      const query = new URLSearchParams({ name: root.querySelector(".name").value, model: model.name, picture: item.file.size });
      const body = new Blob([item.file, await writeMask(mask)]);
      const given = { ...headers(), "Content-Type": "application/octet-stream" };
      const { name } = await (await ask(`/pairs?${query}`, { method: "POST", body, headers: given })).json();
      state(() => texts().kept(name));
    } catch (error) { state(() => error.message, true); }
    event.target.disabled = false;
  });
}

function stroke(mask, from, to, radius, value) {
  const steps = Math.max(1, Math.ceil(Math.hypot(to[0] - from[0], to[1] - from[1]) / Math.max(1, radius / 2)));
  for (let step = 0; step <= steps; step++) {
    const [cx, cy] = [0, 1].map((axis) => from[axis] + ((to[axis] - from[axis]) * step) / steps);
    for (let y = Math.max(0, Math.floor(cy - radius)); y <= Math.min(mask.height - 1, cy + radius); y++) {
      const half = Math.sqrt(Math.max(0, radius * radius - (y + 0.5 - cy) ** 2));
      const left = Math.max(0, Math.round(cx - half)), right = Math.min(mask.width, Math.round(cx + half));
      if (left < right) mask.values.fill(value, y * mask.width + left, y * mask.width + right);
    }
  }
}

function flood(mask, [px, py], value) {
  const { values, width, height } = mask, start = Math.floor(py) * width + Math.floor(px), old = values[start], stack = [start];
  if (old === value || old === undefined) return;
  values[start] = value;
  while (stack.length) {
    const place = stack.pop(), x = place % width;
    for (const [next, inside] of [[place - 1, x > 0], [place + 1, x < width - 1], [place - width, place >= width], [place + width, place < width * (height - 1)]]) {
      if (inside && values[next] === old) { values[next] = value; stack.push(next); }
    }
  }
}

function fillPolygon(mask, corners, value) {
  for (let y = 0; y < mask.height; y++) {
    const crossings = [];
    corners.forEach(([x1, y1], place) => {
      const [x2, y2] = corners[(place + 1) % corners.length];
      if (y1 <= y + 0.5 !== y2 <= y + 0.5) crossings.push(x1 + ((y + 0.5 - y1) / (y2 - y1)) * (x2 - x1));
    });
    crossings.sort((a, b) => a - b);
    for (let pair = 0; pair + 1 < crossings.length; pair += 2) {
      const left = Math.max(0, Math.round(crossings[pair])), right = Math.min(mask.width, Math.round(crossings[pair + 1]));
      if (left < right) mask.values.fill(value, y * mask.width + left, y * mask.width + right);
    }
  }
}

function outline(canvas, corners) {
  const pen = canvas.getContext("2d");
  pen.beginPath();
  for (const [x, y] of corners) pen.lineTo(x, y);
  pen.lineWidth = Math.max(1, canvas.width / 300);
  pen.strokeStyle = "#ffffff";
  pen.stroke();
  for (const [x, y] of corners) { pen.fillStyle = "#000000"; pen.fillRect(x - 2 * pen.lineWidth, y - 2 * pen.lineWidth, 4 * pen.lineWidth, 4 * pen.lineWidth); }
}

// The grey PNG, of 8 or 16 bits, that holds the values of a mask.
async function writeMask({ width, height, values }) {
  const deep = values.some((value) => value > 255) ? 2 : 1, raw = new Uint8Array(height * (width * deep + 1));
  for (let y = 0, to = 0; y < height; y++) {
    raw[to++] = 0;
    for (let x = 0; x < width; x++) {
      const value = values[y * width + x];
      if (deep === 2) raw[to++] = value >> 8;
      raw[to++] = value & 255;
    }
  }
  const stream = new Blob([raw]).stream().pipeThrough(new CompressionStream("deflate"));
  const content = new Uint8Array(await new Response(stream).arrayBuffer()), header = new DataView(new ArrayBuffer(13));
  header.setUint32(0, width);
  header.setUint32(4, height);
  header.setUint8(8, 8 * deep);
  const chunk = (kind, data) => {
    const whole = new Uint8Array(12 + data.length), view = new DataView(whole.buffer);
    view.setUint32(0, data.length);
    whole.set(new TextEncoder().encode(kind), 4);
    whole.set(data, 8);
    view.setUint32(8 + data.length, crc32(whole.subarray(4, 8 + data.length)));
    return whole;
  };
  const start = new Uint8Array([137, 80, 78, 71, 13, 10, 26, 10]);
  return new Blob([start, chunk("IHDR", new Uint8Array(header.buffer)), chunk("IDAT", content), chunk("IEND", new Uint8Array())]);
}

// Downloads.

function save(blob, name) {
  const link = document.createElement("a"), address = URL.createObjectURL(blob);
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
}

const CRC = Uint32Array.from({ length: 256 }, (_, start) => {
  let value = start;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

function crc32(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = CRC[(value ^ byte) & 255] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

// A ZIP without compression: PNG files are compressed already.
function zip(files) {
  const parts = [], directory = [], encoder = new TextEncoder();
  let place = 0;
  for (const { name, bytes } of files) {
    const path = encoder.encode(name), sum = crc32(bytes);
    const header = (signature, size, fields) => {
      const view = new DataView(new ArrayBuffer(size));
      view.setUint32(0, signature, true);
      for (const [at, value, wide] of fields) if (wide) view.setUint32(at, value, true); else view.setUint16(at, value, true);
      return new Uint8Array(view.buffer);
    };
    const common = (at) => [[at, 20], [at + 2, 0x800], [at + 8, 0x21], [at + 10, sum, true], [at + 14, bytes.length, true], [at + 18, bytes.length, true], [at + 22, path.length]];
    parts.push(header(0x04034b50, 30, common(4)), path, bytes);
    directory.push(header(0x02014b50, 46, [[4, 20], ...common(6), [42, place, true]]), path);
    place += 30 + path.length + bytes.length;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0), end = new DataView(new ArrayBuffer(22));
  end.setUint32(0, 0x06054b50, true);
  end.setUint16(8, files.length, true);
  end.setUint16(10, files.length, true);
  end.setUint32(12, size, true);
  end.setUint32(16, place, true);
  return new Blob([...parts, ...directory, end.buffer], { type: "application/zip" });
}

async function saveAll() {
  const files = [], names = chosen(), taken = new Set();
  for (const item of batch) {
    for (const model of names.filter((name) => item.answers[name])) {
      const stem = (item.file.webkitRelativePath || item.file.name).replace(/\.[^.\/]*$/, "");
      let name = `${names.length > 1 ? `${model}/` : ""}${stem}.png`;
      for (let number = 2; taken.has(name); number++) name = `${names.length > 1 ? `${model}/` : ""}${stem}-${number}.png`;
      taken.add(name);
      files.push({ name, bytes: new Uint8Array(await item.answers[model].blob.arrayBuffer()) });
    }
  }
  save(zip(files), "masks.zip");
}

// The start.

async function open() {
  try {
    models = await (await ask("/models", { headers: headers() })).json();
  } catch (error) {
    if (error.status === 401) { by("token-form").hidden = false; by("token").focus(); }
    return state(() => error.status === 401 ? texts().token : error.message, true);
  }
  by("token-form").hidden = true;
  state(() => "");
  const option = (name, text) => Object.assign(document.createElement("option"), { value: name, textContent: text });
  by("model").replaceChildren(...models.map((model) => option(model.name, model.name)));
  by("second").replaceChildren(option("", texts().nobody), ...models.map((model) => option(model.name, model.name)));
  by("beside").hidden = models.length < 2;
  if (models.length === 2) by("second").value = models[1].name;
}

by("choose").addEventListener("click", () => by("files").click());
by("choose-folder").addEventListener("click", () => by("folder").click());
by("camera").addEventListener("click", () => by("photo").click());
for (const id of ["files", "folder", "photo"]) by(id).addEventListener("change", (event) => { add(event.target.files); event.target.value = ""; });
for (const id of ["model", "second"]) {
  by(id).addEventListener("change", () => {
    if (by("second").value === by("model").value) by("second").value = "";
    if (batch.length) { running?.abort(); run(); }
  });
}
by("stop").addEventListener("click", () => running?.abort());
by("zip").addEventListener("click", saveAll);
by("opacity").addEventListener("input", opacity);
by("token-form").addEventListener("submit", (event) => { event.preventDefault(); token = by("token").value.trim(); open(); });
addEventListener("paste", (event) => { if (event.clipboardData.files.length) { event.preventDefault(); add(event.clipboardData.files); } });
addEventListener("dragover", (event) => { event.preventDefault(); by("drop").classList.add("over"); });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) by("drop").classList.remove("over"); });
addEventListener("drop", (event) => { event.preventDefault(); by("drop").classList.remove("over"); if (event.dataTransfer.files.length) add(event.dataTransfer.files); });
for (const button of document.querySelectorAll("[data-language]")) button.addEventListener("click", () => speak(button.dataset.language));
let language = navigator.language.startsWith("ko") ? "ko" : "en";
try { language = localStorage.getItem("perpixel language") ?? language; } catch { /* a browser that keeps nothing */ }
say = () => "";
speak(TEXTS[language] ? language : "en");
open();
