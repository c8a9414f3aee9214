// What the person with the phone in hand sees.

const at = (id) => document.getElementById(id);

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

/** A time with its unit, three figures. */
export function time(ms) {
  if (ms >= 1000) return `${(ms / 1000).toPrecision(3)} s`;
  return ms >= 0.1 ? `${ms.toPrecision(3)} ms` : `${(ms * 1000).toPrecision(3)} µs`;
}

/** The word at the top: starting, waiting, working, done or lost. */
export function state(kind, word) {
  at("state").dataset.state = kind;
  at("state").textContent = word;
}

/** The first card. */
export function say(title, text) {
  at("work-title").textContent = title;
  at("work-text").textContent = text;
}

export function bar(fraction) {
  const holder = at("bar");
  holder.hidden = fraction === null;
  if (fraction === null) return;
  const percent = Math.round(100 * Math.min(1, Math.max(0, fraction)));
  holder.setAttribute("aria-valuenow", String(percent));
  holder.firstElementChild.style.width = `${percent}%`;
}

/** The models of the job, each with its running median. */
export function models(list, medians = {}) {
  const size = (bytes) => (bytes >= 1e6 ? `${(bytes / 1e6).toFixed(1)} MB` : `${Math.ceil(bytes / 1e3)} kB`);
  const engine = { onnxruntime: "ONNX Runtime", tflite: "LiteRT" };
  at("models").replaceChildren(
    ...list.map(({ label, runtime, bytes }) => {
      const row = element("li");
      const name = element("span", label, "name");
      name.append(element("small", `${engine[runtime]}, ${size(bytes)}`));
      row.append(name, element("span", label in medians ? time(medians[label]) : "", "value"));
      return row;
    }),
  );
}

/** A finished comparison, newest first. */
export function result(list, medians) {
  const table = element("table");
  const head = element("tr");
  head.append(element("th", "network"), element("th", "latency"), element("th", "speed-up"));
  table.append(head);
  const [first] = list;
  for (const { label } of list) {
    const row = element("tr");
    const ratio = medians[first.label] / medians[label];
    const cell = element("td", label === first.label ? "base" : `${ratio.toPrecision(3)}×`);
    cell.className = label === first.label ? "reference" : ratio >= 1 ? "faster" : "slower";
    row.append(element("td", label), element("td", time(medians[label])), cell);
    table.append(row);
  }
  at("results").prepend(table);
  at("results-section").hidden = false;
}

/** Facts about the browser, and what follows from them for the numbers. */
export function browser(facts) {
  const step = facts.clock_step_ms;
  const { gpu } = facts;
  const rows = [
    ["Browser", browserName(facts.user_agent)],
    ["System", facts.platform],
    ["Cores told", String(facts.hardware_concurrency)],
    ["Memory told", facts.device_memory_gib === null ? "not told" : `${facts.device_memory_gib} GiB or more`],
    ["Threads", facts.threads ? "possible" : "one only"],
    ["Clock step", time(step)],
    ["GPU", gpu ? `${[gpu.vendor, gpu.architecture].join(" ").trim() || "unnamed"}${gpu.software ? " (software, no GPU)" : ""}` : "none for pages"],
  ];
  at("facts").replaceChildren(...rows.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
  const found = [];
  if (!facts.isolated) {
    found.push([
      "One thread, and a coarse clock",
      facts.secure_context
        ? "This browser does not isolate the page, so it gives it no threads."
        : "The page came over plain http from another machine. Browsers isolate pages only over https or from " +
          "localhost (adb reverse), and only isolated pages get threads and a fine clock.",
    ]);
  }
  if (facts.isolated && !facts.threads) {
    found.push(["One thread", "This browser shares no memory with workers, so the runtimes have one thread."]);
  }
  if (gpu?.software) {
    found.push(["No GPU", "The graphics adapter is software on the CPU; it is not measured as a GPU."]);
  }
  const always = [
    ["Keep this page in front", "A hidden page, or a screen that goes off, is slowed down or stopped."],
    [
      "A browser is not an app",
      "WebAssembly is slower than the same runtime in a native app: compare numbers of this page with each other.",
    ],
  ];
  at("warnings").replaceChildren(
    ...[...found, ...always].map(([title, text], place) => {
      const item = element("li", undefined, place < found.length ? "serious" : "");
      item.append(element("b", title), text);
      return item;
    }),
  );
  at("warnings-section").hidden = false;
}

function browserName(agent) {
  const known = [
    [/Firefox\/([\d.]+)/, "Firefox"],
    [/Edg[A-Za-z]*\/([\d.]+)/, "Edge"],
    [/SamsungBrowser\/([\d.]+)/, "Samsung Internet"],
    [/CriOS\/([\d.]+)/, "Chrome (WebKit)"],
    [/FxiOS\/([\d.]+)/, "Firefox (WebKit)"],
    [/HeadlessChrome\/([\d.]+)/, "Chrome, headless"],
    [/Chrome\/([\d.]+)/, "Chrome"],
    [/Version\/([\d.]+).*Safari/, "Safari"],
  ];
  for (const [pattern, name] of known) {
    const match = agent.match(pattern);
    if (match) return `${name} ${match[1].split(".")[0]}`;
  }
  return agent;
}
