"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("script");

  // ---- what the page carries, compressed -------------------------------------------------------------------------
  async function unpacked(id) {
    const bytes = Uint8Array.from(atob(document.getElementById(id).textContent.trim()), (each) => each.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }

  async function load() {
    const [library, payload] = await Promise.all([unpacked("plotly"), unpacked("payload")]);
    const script = document.createElement("script");
    script.textContent = library;
    document.head.append(script);
    return JSON.parse(payload);
  }

  // ---- light and dark --------------------------------------------------------------------------------------------
  const remembered = {
    get: () => { try { return localStorage.getItem("evoflash-theme"); } catch { return null; } },
    set: (theme) => { try { localStorage.setItem("evoflash-theme", theme); } catch { /* a page from a file may have no storage */ } },
  };
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches);
  if (remembered.get()) root.dataset.theme = remembered.get();
  document.getElementById("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    remembered.set(root.dataset.theme);
    repaint();
  });
  prefersDark.addEventListener("change", repaint);

  function colours(layout) {
    const style = getComputedStyle(root);
    const of = (name) => style.getPropertyValue(name).trim();
    const found = { "font.color": of("--soft"), "hoverlabel.bgcolor": of("--raised"), "hoverlabel.bordercolor": of("--axis"), "hoverlabel.font.color": of("--ink") };
    for (const axis of Object.keys(layout).filter((key) => /^[xy]axis\d*$/.test(key))) {
      Object.assign(found, { [`${axis}.gridcolor`]: of("--grid"), [`${axis}.linecolor`]: of("--axis"), [`${axis}.tickcolor`]: of("--axis") });
    }
    (layout.annotations ?? []).forEach((each, place) => { found[`annotations[${place}].bgcolor`] = `${of("--paper")}cc`; });
    return found;
  }

  function painted(layout) {
    const copy = structuredClone(layout);
    for (const [path, value] of Object.entries(colours(layout))) {
      const names = path.split(/[.[\]]+/);
      const last = names.pop();
      names.reduce((place, name) => (place[name] ??= {}), copy)[last] = value;
    }
    return copy;
  }

  function repaint() {
    for (const plot of document.querySelectorAll(".plot.drawn")) Plotly.relayout(plot, colours(plot.layout));
  }

  // ---- figures, drawn when they come near the window ----------------------------------------------------------------
  let page = null;
  const isTouched = matchMedia("(pointer: coarse)").matches;

  async function draw(plot) {
    if (plot.classList.contains("drawn")) return;
    plot.classList.add("drawn");
    const figure = page.figures[plot.dataset.figure];
    const layout = painted(figure.layout);
    delete layout.width;
    layout.autosize = true;
    if (isTouched) layout.dragmode = false;  // a finger on a figure scrolls the page
    if (plot.clientWidth < 520) {
      Object.assign(layout.margin, { l: 48, r: 8 });
      layout.legend.font = { size: 11 };
    }
    plot.replaceChildren();
    await Plotly.newPlot(plot, figure.data, layout, {
      responsive: true,
      displaylogo: false,
      displayModeBar: isTouched ? false : "hover",
      // Named one by one: plotly's own choice has a button that sends the figure's data to its makers.
      modeBarButtons: [["toImage"], ["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
      doubleClick: "reset",
    });
    plot.on("plotly_click", (event) => {
      const chosen = event.points.find((point) => page.candidates[point.customdata]);
      if (chosen) show(chosen.customdata);
    });
  }

  // ---- one candidate ---------------------------------------------------------------------------------------------
  const dialog = document.getElementById("candidate");
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

  function element(name, text, options = {}) {
    return Object.assign(document.createElement(name), text === undefined ? options : { textContent: text, ...options });
  }

  function textOf(id) {
    const differences = page.sources.texts[id];
    if (!differences) return null;
    let number = 0;
    return differences.map((each) => (number += each));
  }

  function show(id) {
    const each = page.candidates[id];
    const body = dialog.querySelector("div");
    const time = each.us === null ? each.status.replace("_", " ") : `${Number(each.us.toPrecision(4))} µs`;
    body.replaceChildren(
      element("h3", `Candidate ${id}: ${time}`),
      element("p", `${each.family} by ${each.operator}, number ${each.index} of run ${each.run}`, { className: "words" }),
    );
    if (each.reason) body.append(element("p", each.reason, { className: "doubt" }));
    const facts = [["cold, µs", each.cold && Number(each.cold.toPrecision(4))], ["registers", each.registers], ["shared memory, bytes", each.shared]];
    const known = facts.filter(([, value]) => value !== null && value !== undefined);
    if (known.length) body.append(table(known.map(([name, value]) => [name, String(value)])));
    if (each.parents.length) {
      const line = element("p", "Parents: ", { className: "parents" });
      for (const parent of each.parents) {
        const button = element("button", parent, { type: "button", disabled: !page.candidates[parent] });
        button.addEventListener("click", () => show(parent));
        line.append(button);
      }
      body.append(line);
    }
    body.append(element("h4", "Genome"));
    const genes = Object.entries(each.genome).map(([name, value]) => (
      name in each.changed ? [name, value, `was ${each.changed[name]}`] : [name, value, ""]
    ));
    body.append(table([...genes.filter((gene) => gene[2]), ...genes.filter((gene) => !gene[2])]));
    const numbers = textOf(id);
    body.append(element("h4", "Source"));
    if (!numbers) {
      body.append(element("p", `The page does not carry this source; evoflash show ${id} --source prints it.`, { className: "words" }));
    } else {
      const before = each.parents.length ? textOf(each.parents[0]) : null;
      if (before) body.append(element("p", `Marked lines are not in candidate ${each.parents[0]}.`, { className: "words" }));
      body.append(listing(numbers, before && new Set(before)));
    }
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
  }

  function table(rows) {
    const found = element("table");
    for (const row of rows) {
      const line = found.insertRow();
      row.forEach((cell, place) => { line.insertCell().textContent = cell; if (place === 2) line.lastChild.className = "was"; });
    }
    return found;
  }

  function listing(numbers, before) {
    const found = element("pre");
    const lines = highlighted(numbers.map((number) => page.sources.lines[number]).join("\n"), "c++").split("\n");
    found.innerHTML = lines.map((line, place) => (
      before && !before.has(numbers[place]) ? `<span class="changed">${line}</span>` : line
    )).join("\n");
    return found;
  }

  for (const form of document.querySelectorAll(".finder")) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const id = form.querySelector("input").value.trim();
      const isKnown = page !== null && page.candidates[id] !== undefined;
      form.querySelector("span").textContent = isKnown ? "" : `The page does not have candidate ${id}.`;
      if (isKnown) show(id);
    });
  }

  // ---- highlighting ----------------------------------------------------------------------------------------------
  const words = (text) => new Set(text.split(" "));
  const KEYWORDS = {
    "c++": words("alignas asm auto break case catch class const constexpr continue default delete do else enum explicit extern false for friend goto if inline namespace new noexcept nullptr operator private public return sizeof static static_assert static_cast reinterpret_cast struct switch template this throw true try typedef typename union using virtual volatile while __global__ __device__ __host__ __shared__ __launch_bounds__ __forceinline__ __restrict__"),
    python: words("and as assert async await break class continue def del elif else except False finally for from global if import in is lambda None nonlocal not or pass raise return True try while with yield"),
  };
  const TYPES = words("void bool char short int long float double unsigned signed size_t half half2 uint2 uint4 float2 float4 int8_t int16_t int32_t int64_t uint8_t uint16_t uint32_t uint64_t uintptr_t __half __nv_bfloat16");
  const TOKENS = {
    "c++": /(\/\/[^\n]*|\/\*[\s\S]*?\*\/)|("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])')|(^[ \t]*#[^\n]*)|(\b(?:0x[\da-f']+|\d[\d.']*(?:e[+-]?\d+)?)[uflUFL]*\b)|([A-Za-z_]\w*)|([&<>])/gim,
    python: /(#[^\n]*)|("""[\s\S]*?"""|'''[\s\S]*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|(^[ \t]*@[^\n]*)|(\b(?:0x[\da-f]+|\d[\d._]*(?:e[+-]?\d+)?)\b)|([A-Za-z_]\w*)|([&<>])/gim,
  };
  const ESCAPED = { "&": "&amp;", "<": "&lt;", ">": "&gt;" };
  const escaped = (text) => text.replace(/[&<>]/g, (each) => ESCAPED[each]);
  // A span does not cross lines, so that lines can be marked one by one.
  const span = (name, text) => escaped(text).split("\n").map((line) => `<span class="${name}">${line}</span>`).join("\n");

  function highlighted(text, language) {
    const kind = language === "python" ? "python" : "c++";
    const keywords = KEYWORDS[kind];
    return text.replace(TOKENS[kind], (all, comment, string, directive, number, name, sign) => {
      if (comment !== undefined) return span("c", comment);
      if (string !== undefined) return span("s", string);
      if (directive !== undefined) return span("d", directive);
      if (number !== undefined) return span("m", number);
      if (name !== undefined) return keywords.has(name) ? span("k", name) : TYPES.has(name) ? span("t", name) : name;
      return ESCAPED[sign];
    });
  }

  for (const listing of document.querySelectorAll("pre[data-language]")) {
    const color = () => {
      listing.innerHTML = highlighted(listing.textContent, listing.dataset.language);
      delete listing.dataset.language;
    };
    const folded = listing.closest("details:not([open])");
    if (folded) folded.addEventListener("toggle", color, { once: true });
    else color();
  }

  // ---- start -----------------------------------------------------------------------------------------------------
  load().then((found) => {
    page = found;
    const near = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (entry.isIntersecting) {
          near.unobserve(entry.target);
          draw(entry.target);
        }
      }
    }, { rootMargin: "700px" });
    document.querySelectorAll(".plot").forEach((plot) => near.observe(plot));
    addEventListener("beforeprint", () => document.querySelectorAll(".plot").forEach(draw));
    root.dataset.ready = "";
  }).catch((error) => {
    for (const plot of document.querySelectorAll(".plot")) plot.textContent = `The figures need a browser of 2023 or newer: ${error.message}`;
    throw error;
  });
})();
