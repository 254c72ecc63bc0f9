"use strict";
const $ = (id) => document.getElementById(id);
const SHORT_SIDE = 256, QUALITY = 0.92, FULL = 400000;  // pixels sent, of JPEG, bytes waiting at which frames are dropped
let about = { runs: [], most_bytes: 0, narrations: false };
let socket = null, page = "", dropped = 0, sent = 0, running = false;

function say(text) { $("message").textContent = text; $("message").hidden = !text; }

function element(tag, name, text) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

function bars(title, rows) {
  const part = element("div");
  part.append(element("h3", "", title));
  for (const { name, p } of rows) {
    const row = element("div", "row"), fill = element("i");
    fill.style.width = `${100 * p}%`;
    row.append(fill, element("span", "", name), element("span", "", `${(100 * p).toFixed(0)} %`));
    part.append(row);
  }
  return part;
}

function card(run, best) {
  const made = element("article", "run");
  made.dataset.run = run;
  made.append(element("h2", "", run), element("div", "first", best ? best.actions[0].name : "waiting for a clip"));
  if (best) made.append(bars("actions", best.actions), bars("verbs", best.verbs), bars("nouns", best.nouns));
  return made;
}

function connect() {
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/camera`);
  socket.binaryType = "arraybuffer";
  socket.onmessage = (event) => {
    const message = JSON.parse(event.data);
    if (message.page) { page = message.page; return; }
    if (message.problem) { say(message.problem); return; }
    const old = document.querySelector(`#answers [data-run="${CSS.escape(message.run)}"]`);
    old.replaceWith(card(message.run, message));
    $("latency").textContent = `${Math.round(1000 * (performance.now() / 1000 - message.stop))} ms`;
    $("clips").textContent = message.clips_per_second.toFixed(1);
    $("fps").textContent = message.frames_per_second.toFixed(1);
    $("dropped").textContent = dropped;
  };
  socket.onclose = () => { page = ""; if (running) say("The server has gone; the page asks again every second."); setTimeout(connect, 1000); };
  socket.onopen = () => say("");
}

async function startCamera() {
  say("");
  if (!navigator.mediaDevices) { say("Browsers give a camera only to a page of this machine or one with https."); return; }
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { frameRate: { ideal: 60 }, width: { ideal: 640 } } });
  } catch (error) {
    const why = { NotAllowedError: "The camera was refused: allow it for this page in the browser, then start it again.",
      NotFoundError: "There is no camera on this machine.", NotReadableError: "The camera is in use by another program." };
    say(why[error.name] || `The camera cannot be started (${error.name}).`);
    return;
  }
  const video = $("webcam");
  video.srcObject = stream;
  stream.getVideoTracks()[0].onended = () => { stop("The camera was unplugged or taken away; start it again."); };
  await video.play();
  $("start").hidden = true;
  running = true;
  const canvas = document.createElement("canvas"), context = canvas.getContext("2d", { alpha: false });
  let encoding = false;
  const grab = (now, facts) => {
    if (!running) return;
    video.requestVideoFrameCallback(grab);
    if (encoding || socket.readyState !== WebSocket.OPEN || socket.bufferedAmount > FULL) { dropped += 1; return; }
    const scale = Math.min(1, SHORT_SIDE / Math.min(video.videoWidth, video.videoHeight));
    const width = Math.round(video.videoWidth * scale), height = Math.round(video.videoHeight * scale);
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    context.drawImage(video, 0, 0, width, height);
    encoding = true;
    canvas.toBlob(async (blob) => {
      encoding = false;
      if (!blob || socket.readyState !== WebSocket.OPEN) return;
      const data = new Uint8Array(8 + blob.size);
      new DataView(data.buffer).setFloat64(0, now / 1000, true);
      data.set(new Uint8Array(await blob.arrayBuffer()), 8);
      socket.send(data);
      sent += 1;
    }, "image/jpeg", QUALITY);
  };
  video.requestVideoFrameCallback(grab);
}

function stop(why) { running = false; $("start").hidden = false; say(why); }

function show(which) {
  for (const name of ["camera", "file"]) {
    $(name).hidden = name !== which;
    $(`tab-${name}`).setAttribute("aria-selected", String(name === which));
  }
}

async function ask(url, options) {
  let answer;
  try { answer = await fetch(url, options); } catch { throw new Error("The server ended the connection; if the file is large, it may be over what it takes."); }
  const content = await answer.json();
  if (content.problem) throw new Error(content.problem);
  return content;
}

async function open(start) {
  say(""); $("watched").hidden = true; $("progress").hidden = false; $("progress").value = 0;
  try {
    const { job } = await start();
    let found;
    for (;;) {
      found = await ask(`/api/job/${job}`);
      $("progress").value = found.share;
      if (found.result) break;
      await new Promise((later) => setTimeout(later, 250));
    }
    draw(job, found.result);
  } catch (error) { say(error.message); }
  $("progress").hidden = true;
}

function openFile(file) {
  if (!file) return;
  if (file.size > about.most_bytes) {
    say(`${file.name} has ${(file.size / 1e9).toFixed(1)} GB, this server takes ${(about.most_bytes / 1e9).toFixed(1)} (--max-upload).`);
    return;
  }
  open(() => ask(`/api/upload?page=${page}`, { method: "PUT", body: file }));
}

function colour(text) {  // of an action: the same one every time
  let hash = 0;
  for (const letter of text) hash = (hash * 31 + letter.codePointAt(0)) % 360;
  return `hsl(${hash} 55% 76%)`;
}

function draw(job, result) {
  const player = $("player"), lanes = $("timelines"), length = result.stop - result.start;
  $("unplayable").hidden = true;
  player.onerror = () => { $("unplayable").hidden = false; };
  player.src = `/api/video/${job}`;
  player.onloadedmetadata = () => { player.currentTime = result.start; };
  lanes.replaceChildren(); $("chosen").replaceChildren();
  let until = null;
  const choose = (from, stop) => {
    until = stop; player.currentTime = from; player.play().catch(() => {});
    const cards = Object.entries(result.runs).map(([run, segments]) => {
      const middle = (from + stop) / 2;
      return card(run, segments.find((one) => one.start <= middle && middle <= one.stop) || segments[0]);
    });
    const true_ = (result.truth || []).filter((one) => one.start < stop && one.stop > from).map((one) => one.action);
    if (result.truth) for (const one of cards) one.append(element("p", "truth", `truth: ${true_.join(", ") || "no label here"}`));
    $("chosen").replaceChildren(...cards);
  };
  const lane = (title, segments) => {
    const made = element("div", "lane"), track = element("div", "track");
    track.dataset.lane = title;
    for (const one of segments) {
      const from = Math.max(one.start, result.start), to = Math.min(one.stop, result.stop);
      const button = element("button", "", one.action);
      button.style.left = `${100 * (from - result.start) / length}%`;
      button.style.width = `${100 * (to - from) / length}%`;
      button.style.background = colour(one.action);
      button.title = `${one.action}, ${from.toFixed(1)} to ${to.toFixed(1)} s`;
      button.onclick = () => {
        for (const other of lanes.querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === button));
        choose(from, to);
      };
      track.append(button);
    }
    track.append(element("div", "now"));
    made.append(element("p", "", title), track);
    lanes.append(made);
  };
  if (result.truth) lane("truth", result.truth);
  for (const [run, segments] of Object.entries(result.runs)) lane(run, segments);
  player.ontimeupdate = () => {
    if (until !== null && player.currentTime >= until) { player.pause(); until = null; }
    const share = Math.min(1, Math.max(0, (player.currentTime - result.start) / length));
    for (const line of lanes.querySelectorAll(".now")) line.style.left = `${100 * share}%`;
  };
  $("watched").hidden = false;
}

async function begin() {
  about = await ask("/api/about");
  $("answers").replaceChildren(...about.runs.map((run) => card(run.name, null)));
  $("narration").hidden = !about.narrations;
  connect();
  $("start").onclick = startCamera;
  $("tab-camera").onclick = () => show("camera");
  $("tab-file").onclick = () => show("file");
  $("upload").onchange = (event) => { openFile(event.target.files[0]); event.target.value = ""; };
  const drop = $("drop");
  drop.ondragover = (event) => { event.preventDefault(); drop.classList.add("over"); };
  drop.ondragleave = () => drop.classList.remove("over");
  drop.ondrop = (event) => { event.preventDefault(); drop.classList.remove("over"); openFile(event.dataTransfer.files[0]); };
  $("narration").onsubmit = (event) => {
    event.preventDefault();
    open(() => ask(`/api/narration?id=${encodeURIComponent($("identity").value)}`, { method: "POST" }));
  };
}
begin().catch((error) => say(error.message));
