// <ts-chart>: upgrades the server's drawing to uPlot when it has many points or is live.
// <ts-live src>: one EventSource per page, hands points to charts and words to [data-live] nodes.
import uPlot from "uplot";

const probe = document.createElement("i");
probe.hidden = false;
probe.className = "sr";

function token(name) {
  // light-dark() resolves only on a real property of a real element.
  probe.style.color = `var(${name})`;
  if (!probe.isConnected) document.body.append(probe);
  return getComputedStyle(probe).color;
}

const dashes = [[], [5, 3], [8, 3], [2, 2], [8, 3, 2, 3], [1, 3]];
const sync = uPlot.sync("ts");

class Chart extends HTMLElement {
  connectedCallback() {
    const data = this.querySelector("script[type='application/json']");
    if (!data) return;
    this.spec = JSON.parse(data.textContent);
    // null is a gap; undefined is only "another line has a point here", and is drawn through.
    this.points = [this.spec.x, ...this.spec.series.map((s) => {
      const known = new Map(s.x.map((x, i) => [x, s.y[i]]));
      return this.spec.x.map((x) => known.get(x));
    })];
    const live = this.hasAttribute("live");
    if (live || this.spec.x.length > 200) this.upgrade();
    document.addEventListener("ts:theme", () => this.redraw());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
  }

  upgrade() {
    this.plot = this.querySelector(".plot");
    if (!this.plot || !this.points[0].length) return;
    const height = Math.max(70, Math.round(this.plot.getBoundingClientRect().height));
    const holder = document.createElement("div");
    holder.className = "plot-live";
    this.plot.replaceWith(holder);
    this.holder = holder;
    this.height = height - 12;
    this.make();
    this.watch = new ResizeObserver(() => {
      const width = holder.clientWidth;
      if (this.u && width && Math.abs(width - this.u.width) > 1) this.u.setSize({ width, height: this.height });
    });
    this.watch.observe(holder);
  }

  make() {
    const grid = { stroke: token("--line"), width: 1 };
    const axis = { stroke: token("--muted"), grid, ticks: { show: false }, font: "12px Geist, system-ui, sans-serif" };
    const compact = new Intl.NumberFormat(document.documentElement.lang || "en", { notation: "compact", maximumSignificantDigits: 3 });
    const series = this.spec.series.map((s) => ({
      label: s.name,
      stroke: token(`--series-${s.tone}`),
      width: 1.5,
      dash: dashes[s.tone - 1],
      spanGaps: Boolean(s.sparse),
      points: { show: Boolean(s.sparse), size: 5, fill: token("--surface") },
    }));
    this.u = new uPlot({
      width: this.holder.clientWidth, height: this.height,
      legend: { show: false },
      cursor: { sync: { key: sync.key }, points: { size: 6 }, drag: { x: true, y: false } },
      scales: {
        x: { time: false },
        y: { distr: this.spec.log ? 3 : 1, range: this.spec.zero ? (_, __, max) => [0, this.spec.top ?? max * 1.05] : undefined },
      },
      axes: [{ ...axis, size: 26, space: 64 }, { ...axis, size: 44, values: (_, ticks) => ticks.map((v) => (v == null ? "" : compact.format(v))) }],
      series: [{ label: this.spec.xlabel }, ...series],
      hooks: { setCursor: [(u) => this.readout(u)], setSelect: [(u) => { this.zoomed = u.select.width > 0; }] },
    }, this.points, this.holder);
    this.holder.tabIndex = 0;
    this.holder.setAttribute("role", "group");
    this.holder.setAttribute("aria-label", this.dataset.label || "");
    this.holder.onkeydown = (event) => this.arrow(event);
    this.holder.ondblclick = () => { this.zoomed = false; };
  }

  redraw() {
    if (!this.u) return;
    this.u.destroy();
    this.make();
  }

  arrow(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const at = Math.min(this.points[0].length - 1, Math.max(0, (this.u.cursor.idx ?? this.points[0].length - 1) + by));
    this.u.setCursor({ left: this.u.valToPos(this.points[0][at], "x"), top: 10 });
  }

  readout(u) {
    const at = u.cursor.idx;
    this.spec.series.forEach((s, i) => {
      const out = this.querySelector(`[data-latest="${s.key}"]`);
      if (!out) return;
      let value = at == null ? this.last(i + 1) : this.points[i + 1][at];
      if (value == null && at != null) value = this.before(i + 1, at);
      if (value != null) out.textContent = format(value);
    });
  }

  last(row) { return this.before(row, this.points[row].length - 1); }
  before(row, at) {
    for (let i = at; i >= 0; i -= 1) if (this.points[row][i] != null) return this.points[row][i];
    return null;
  }

  add(key, x, y) {
    const row = this.spec.series.findIndex((s) => s.key === key) + 1;
    if (!row) return;
    const xs = this.points[0];
    let at = xs.length - 1;
    while (at >= 0 && xs[at] > x) at -= 1;
    if (xs[at] !== x) {
      at += 1;
      this.points.forEach((values, i) => values.splice(at, 0, i === 0 ? x : undefined));
    }
    this.points[row][at] = y;
    delete this.dataset.stale;
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      if (!this.u) { this.upgrade(); if (this.u) this.readout(this.u); return; }
      this.u.setData(this.points, !this.zoomed);
      this.readout(this.u);
    });
  }
}

function format(value) {
  return Math.abs(value) >= 100 ? value.toFixed(0) : Math.abs(value) >= 1 ? value.toFixed(2) : value.toPrecision(3);
}

customElements.define("ts-chart", Chart);

class Live extends HTMLElement {
  connectedCallback() {
    this.start();
    document.addEventListener("visibilitychange", () => {
      clearTimeout(this.sleep);
      if (document.hidden) this.sleep = setTimeout(() => this.stop(), 60000);
      else if (!this.source && !this.done) this.start();
    });
    this.gaps = [];
    this.timer = setInterval(() => this.stale(), 2000);
  }

  disconnectedCallback() { this.stop(); clearInterval(this.timer); }

  start() {
    const url = new URL(this.getAttribute("src"), location.href);
    if (this.last) url.searchParams.set("after", this.last);
    this.source = new EventSource(url);
    this.source.addEventListener("point", (event) => this.point(event));
    this.source.addEventListener("state", (event) => this.state(event));
    this.source.addEventListener("log", (event) => this.log(event));
    this.source.addEventListener("done", (event) => {
      this.done = true;
      this.stop();
      const { href } = JSON.parse(event.data || "{}");
      location.assign(href || location.href);
    });
  }

  stop() { this.source?.close(); this.source = null; }

  point(event) {
    this.last = event.lastEventId || this.last;
    const now = performance.now();
    if (this.seen) this.gaps = [...this.gaps.slice(-20), now - this.seen];
    this.seen = now;
    this.note("");
    for (const { chart, series, x, y } of JSON.parse(event.data)) document.getElementById(chart)?.add?.(series, x, y);
  }

  state(event) {
    const state = JSON.parse(event.data);
    for (const [key, value] of Object.entries(state)) {
      for (const node of document.querySelectorAll(`[data-live="${key}"]`)) {
        if (node instanceof HTMLProgressElement) { if (value == null) node.removeAttribute("value"); else node.value = value; }
        else if (node.textContent !== String(value)) node.textContent = value;
      }
    }
    if (state.announce) { const region = document.getElementById("announce"); if (region) region.textContent = state.announce; }
  }

  log(event) {
    this.last = event.lastEventId || this.last;
    const list = document.getElementById("job-log");
    if (!list) return;
    const { at, when, level, text } = JSON.parse(event.data);
    if (list.querySelector(`[data-event="${CSS.escape(event.lastEventId)}"]`)) return;
    const item = document.createElement("li");
    item.dataset.event = event.lastEventId;
    const time = document.createElement("time");
    time.dateTime = at;
    time.textContent = when;
    const words = document.createElement("span");
    words.textContent = text;
    if (level === "error") words.className = "tone-text-danger";
    if (level === "warn") words.className = "tone-text-warn";
    item.append(time, words);
    list.prepend(item);
  }

  stale() {
    if (!this.seen || this.gaps.length < 3) return;
    const usual = [...this.gaps].sort((a, b) => a - b)[Math.floor(this.gaps.length / 2)];
    const quiet = performance.now() - this.seen;
    if (quiet < Math.max(15000, usual * 3)) return;
    for (const chart of document.querySelectorAll("ts-chart[live]")) chart.dataset.stale = "";
    this.note((this.dataset.quiet || "").replace("%s", Math.round(quiet / 1000)));
  }

  note(text) {
    const out = document.querySelector("[data-live-note]");
    if (out && out.textContent !== text) out.textContent = text;
  }
}

customElements.define("ts-live", Live);
