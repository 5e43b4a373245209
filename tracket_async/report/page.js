"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const FACETS = ["month", "weekday", "approval", "person", "project", "category"];
  const WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
  const LISTED = 15;
  const names = { ...data.facets, weekday: WEEKDAYS };
  const codes = Object.fromEntries(FACETS.map((facet) => [facet, new Int32Array(data.keys.length)]));
  data.keys.reduce((before, step, cell) => {
    let key = before + step;
    for (const facet of FACETS.toReversed()) {
      codes[facet][cell] = key % names[facet].length;
      key = Math.floor(key / names[facet].length);
    }
    return before + step;
  }, 0);
  const FILTERS = ["person", "project", "category"];
  const last = names.month.length - 1;
  const everything = { from: 0, to: last, person: -1, project: -1, category: -1 };
  const chosen = { ...everything };
  const allListed = {};

  // Nothing but text nodes: `append` makes one of a string, and no other way leads from the data into the page.
  const make = (space) => (name, attributes = {}, ...children) => {
    const element = document.createElementNS(space, name);
    for (const [key, value] of Object.entries(attributes)) {
      if (typeof value === "function") element.addEventListener(key, value);
      else if (value !== null) element.setAttribute(key, value);
    }
    element.append(...children.filter((child) => child !== null));
    return element;
  };
  const html = make("http://www.w3.org/1999/xhtml");
  const svg = make("http://www.w3.org/2000/svg");

  const number = (value) => value.toLocaleString("en", { maximumFractionDigits: 0 });
  const hours = (minutes) =>
    (minutes / 60).toLocaleString("en", { maximumFractionDigits: Math.abs(minutes) < 6000 ? 1 : 0 });
  const percent = (part, whole) => (whole ? `${Math.round((100 * part) / whole)} %` : "–");
  // Minutes that nobody called billable or not are not said, which is not 0.
  const mute = (sums) => sums.minutes > 0 && sums.unsaid >= sums.minutes;
  const billable = (sums) => (mute(sums) ? "not said" : percent(sums.billable, sums.minutes - sums.unsaid));
  const billableHours = (sums) => (mute(sums) ? "not said" : hours(sums.billable));

  const nothing = () => ({ worklogs: 0, minutes: 0, billable: 0, unsaid: 0 });
  const several = (length, each = nothing) => Array.from({ length }, each);
  const add = (sums, cell) => {
    sums.worklogs += data.worklogs[cell];
    sums.minutes += data.minutes[cell];
    sums.billable += data.billable[cell];
    sums.unsaid += data.unsaid[cell];
  };

  function sumUp() {
    const found = {
      total: nothing(),
      months: several(names.month.length),
      approvals: several(names.month.length, () => new Float64Array(names.approval.length)),
      weekdays: several(7, () => new Float64Array(names.month.length)),
      people: several(names.person.length, () => new Float64Array(names.month.length)),
      lists: Object.fromEntries(FILTERS.map((facet) => [facet, several(names[facet].length)])),
    };
    for (let cell = 0; cell < data.keys.length; cell++) {
      const month = codes.month[cell];
      if (month < chosen.from || month > chosen.to) continue;
      const misses = FILTERS.filter((facet) => chosen[facet] >= 0 && chosen[facet] !== codes[facet][cell]);
      if (misses.length > 1) continue;
      // A list shows what could be chosen in it, so its own choice does not count there.
      for (const facet of misses.length ? misses : FILTERS) add(found.lists[facet][codes[facet][cell]], cell);
      if (misses.length) continue;
      add(found.total, cell);
      add(found.months[month], cell);
      found.approvals[month][codes.approval[cell]] += data.minutes[cell];
      found.weekdays[codes.weekday[cell]][month] += data.minutes[cell];
      found.people[codes.person[cell]][month] += data.minutes[cell];
    }
    return found;
  }

  const cell = (text) => html("td", {}, text);
  function table(caption, head, rows, foot) {
    const line = ([first, ...others]) => html("tr", {}, html("th", { scope: "row" }, html("bdi", {}, first)), ...others.map(cell));
    return html("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
      html("table", {}, html("caption", {}, caption),
        html("thead", {}, html("tr", {}, ...head.map((name) => html("th", { scope: "col" }, html("bdi", {}, name))))),
        html("tbody", {}, ...rows.map(line)),
        foot ? html("tfoot", {}, line(foot)) : null));
  }
  const details = (...children) => html("details", {}, html("summary", {}, "Table"), ...children);
  const card = (id, title, wide, ...children) =>
    html("section", { id, class: wide ? "wide" : null, "aria-labelledby": `${id}-title` }, html("h2", { id: `${id}-title` }, title), ...children);

  const square = (colour) => svg("rect", { class: colour, width: 12, height: 12 });
  const keys = (pairs) => html("ul", { "aria-label": "Legend" }, ...pairs.map(([name, shape]) =>
    html("li", {}, svg("svg", { width: 14, height: 12, "aria-hidden": "true" }, shape), html("bdi", {}, name))));

  // A chart of columns and rows; pointer and arrow keys move a cursor that reads a value out below.
  function chart(label, box, drawn, text) {
    const read = html("p", { class: "read", "aria-live": "polite" }, "Point at the chart, or focus it and press the arrow keys.");
    const cursor = svg("rect", { class: "cursor", width: box.step, height: box.row, visibility: "hidden" });
    let column = -1;
    let row = 0;
    const move = (x, y) => {
      column = Math.min(Math.max(x, 0), box.columns - 1);
      row = Math.min(Math.max(y, 0), box.rows - 1);
      cursor.setAttribute("x", box.left + column * box.step);
      cursor.setAttribute("y", box.top + row * box.row);
      cursor.setAttribute("visibility", "visible");
      read.textContent = text(column, row);
    };
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], Home: [-1e9, 0], End: [1e9, 0] };
    const picture = svg("svg", {
      viewBox: `0 0 ${box.width} ${box.height}`, width: box.width, height: box.height, tabindex: 0, role: "application",
      "aria-roledescription": "chart", "aria-label": `${label}. Arrow keys read the values; the table below has them all.`,
      keydown: (event) => {
        const step = steps[event.key];
        if (!step) return;
        event.preventDefault();
        move(column + step[0], row + step[1]);
      },
      pointermove: (event) => {
        const at = picture.getBoundingClientRect();
        const scale = box.width / at.width;
        const x = ((event.clientX - at.left) * scale - box.left) / box.step;
        const y = ((event.clientY - at.top) * scale - box.top) / box.row;
        if (x >= 0 && x < box.columns && y >= 0 && y < box.rows) move(Math.floor(x), Math.floor(y));
      },
    }, ...drawn, cursor);
    return [picture, read];
  }

  function roundSteps(most) {
    const rough = (most || 1) / 5;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough * 0.999);
    return several(Math.ceil((most || 1) / step - 1e-9) + 1, () => 0).map((_, index) => index * step);
  }

  function monthLabels(box, shown, y) {
    const every = Math.ceil(64 / box.step);
    return shown.flatMap((name, index) => {
      const x = box.left + (index + 0.5) * box.step;
      const fits = index % every === 0 && x + 26 < box.width;
      return fits || shown.length === 1 ? [svg("text", { x, y, "text-anchor": "middle" }, name)] : [];
    });
  }

  function monthsCard(found, width) {
    const shown = names.month.slice(chosen.from, chosen.to + 1);
    const sums = found.months.slice(chosen.from, chosen.to + 1);
    const parts = found.approvals.slice(chosen.from, chosen.to + 1);
    const ticks = roundSteps(Math.max(...sums.map((each) => Math.max(each.minutes, each.billable))) / 60);
    const [top, height] = [10, paper ? 190 : 240];
    const left = 14 + 7 * number(ticks.at(-1)).length;
    const box = { left, top, columns: shown.length, rows: 1, row: height, step: (width - left - 4) / shown.length, width, height: height + 36 };
    const y = (minutes) => top + height - (height * minutes) / 60 / ticks.at(-1);
    const middle = (index) => box.left + (index + 0.5) * box.step;
    const drawn = ticks.flatMap((tick) => [
      svg("line", { class: "grid", x1: left, x2: width, y1: y(tick * 60), y2: y(tick * 60) }),
      svg("text", { x: left - 6, y: y(tick * 60) + 4, "text-anchor": "end" }, tick % 1 ? String(tick) : number(tick))]);
    const gap = box.step > 6 ? box.step * 0.1 : 0;
    parts.forEach((part, index) => {
      let below = 0;
      part.forEach((minutes, approval) => {
        if (minutes > 0) {
          drawn.push(svg("rect", { class: data.colours[approval], x: box.left + index * box.step + gap, width: box.step - 2 * gap,
            y: y(below + minutes), height: y(below) - y(below + minutes) }));
        }
        below += minutes;
      });
    });
    // The line has a gap where no worklog of a month says what is billable.
    let path = "";
    sums.forEach((each, index) => {
      if (mute(each)) return;
      const joined = index && !mute(sums[index - 1]);
      path += `${joined ? "L" : "M"}${middle(index).toFixed(1)} ${y(each.billable).toFixed(1)}`;
      if (!joined && (index === sums.length - 1 || mute(sums[index + 1]))) {
        drawn.push(svg("circle", { class: "dot", cx: middle(index), cy: y(each.billable), r: 4 }));
      }
    });
    drawn.push(svg("path", { class: "halo", d: path }), svg("path", { class: "billable-line", d: path }));
    drawn.push(...monthLabels(box, shown, top + height + 20));
    const text = (index) => `${shown[index]}: ${hours(sums[index].minutes)} h; ` +
      names.approval.flatMap((name, approval) => parts[index][approval] ? [`${name} ${hours(parts[index][approval])} h`] : []).join(", ") +
      `; billable: ${billableHours(sums[index])}${mute(sums[index]) ? "" : " h"}`;
    const legend = keys([...names.approval.map((name, approval) => [name, square(data.colours[approval])]),
      ["billable", svg("path", { class: "billable-line", d: "M0 6H14" })]]);
    const head = ["Month", "Hours", ...names.approval, "Billable", "Not said"];
    const line = (name, each, part) => [name, hours(each.minutes), ...Array.from(part, hours), billableHours(each), hours(each.unsaid)];
    const whole = parts.reduce((all, part) => all.map((minutes, approval) => minutes + part[approval]), several(names.approval.length, () => 0));
    return card("months", "Hours by month and approval", true, legend, ...chart("Hours by month", box, drawn, text),
      details(table("Hours by month", head, shown.map((name, index) => line(name, sums[index], parts[index])), line("All", found.total, whole))));
  }

  // The values that are summed up as others are known apart only while nothing is filtered.
  const unfiltered = () => Object.keys(everything).every((key) => chosen[key] === everything[key]);
  function entries(facet, sums) {
    const folded = data.folded[facet] ? sums.length - 1 : -1;
    const kept = sums.map((each, code) => ({ code, name: names[facet][code], sums: each })).filter((each) => each.sums.worklogs && each.code !== folded);
    const apart = unfiltered() ? data.apart[facet].map(([name, worklogs, minutes, billable, unsaid]) => ({ name, sums: { worklogs, minutes, billable, unsaid } })) : [];
    return [...kept, ...apart].sort((a, b) => b.sums.minutes - a.sums.minutes);
  }

  function listCard(id, title, facet, found, wide) {
    const whole = nothing();
    const others = nothing();
    const plus = (sums, more, sign = 1) => Object.keys(sums).forEach((name) => { sums[name] += sign * more[name]; });
    found.lists[facet].forEach((each) => plus(whole, each));
    const order = entries(facet, found.lists[facet]);
    const listed = allListed[facet] || order.length <= LISTED + 1 ? order : order.slice(0, LISTED);
    plus(others, whole);
    listed.forEach((each) => plus(others, each.sums, -1));
    const most = Math.max(1, ...listed.map((each) => each.sums.minutes));
    const bar = (each) => {
      const share = (minutes) => `${(100 * Math.max(minutes, 0)) / most}%`;
      return svg("svg", { "aria-hidden": "true" },
        svg("rect", { class: "rest", width: share(each.minutes), height: 14 }),
        svg("rect", { class: "unsaid", x: share(each.minutes - each.unsaid), width: share(each.unsaid), height: 14 }),
        svg("rect", { class: "billable", width: share(Math.min(each.billable, each.minutes)), height: 14 }));
    };
    const row = (name, each, drawn) => html("tr", {}, html("th", { scope: "row" }, name), html("td", { class: "bar" }, drawn ? bar(each) : ""),
      cell(hours(each.minutes)), html("td", { class: "share" }, percent(each.minutes, whole.minutes)), cell(billable(each)),
      whole.unsaid ? html("td", { class: "more" }, hours(each.unsaid)) : null);
    const label = ({ code, name }) => code === undefined ? html("bdi", { title: name }, name) :
      html("button", { type: "button", title: name, "aria-pressed": String(chosen[facet] === code), id: `${id}-${code}`,
        click: () => { chosen[facet] = chosen[facet] === code ? -1 : code; update(`${id}-${code}`); } }, html("bdi", {}, name));
    const head = ["", "", "Hours", "Share", "Billable", ...(whole.unsaid ? ["Not said"] : [])];
    const classes = { Share: "share", "Not said": "more" };
    return card(id, title, wide,
      keys([["billable", square("billable")], ["not billable", square("rest")], ...(whole.unsaid ? [["not said", square("unsaid")]] : [])]),
      html("table", { class: "bars" },
        html("thead", {}, html("tr", {}, ...head.map((name) => name ? html("th", { scope: "col", class: classes[name] || null }, name) : html("td")))),
        html("tbody", {}, ...listed.map((each) => row(label(each), each.sums, true)),
          others.worklogs ? row(order.length > listed.length && unfiltered() ? `${number(order.length - listed.length)} others` : "others", others) : null)),
      order.length > LISTED + 1 ? html("button", { type: "button", id: `${id}-all`, "aria-expanded": String(Boolean(allListed[facet])),
        click: () => { allListed[facet] = !allListed[facet]; update(`${id}-all`); } },
        allListed[facet] ? "Show fewer" : `Show all ${number(order.length)}`) : null);
  }

  function heatCard(id, title, labels, values, width) {
    const shown = names.month.slice(chosen.from, chosen.to + 1);
    const rows = values.map((row) => row.slice(chosen.from, chosen.to + 1));
    const most = Math.max(1, ...rows.map((row) => Math.max(...row)));
    const left = width < 500 ? 96 : 140;
    const box = { left, top: 2, columns: shown.length, rows: rows.length, row: 20, step: (width - left - 2) / shown.length, width, height: 26 + 20 * rows.length };
    const room = Math.floor((left - 6) / 7.4);
    const cut = (name) => (name.length > room ? `${name.slice(0, room - 1)}…` : name);
    const drawn = rows.flatMap((row, index) => [
      svg("text", { x: left - 6, y: box.top + index * 20 + 14, "text-anchor": "end" }, cut(labels[index])),
      ...Array.from(row, (minutes, month) => svg("rect", { class: minutes > 0 ? "heat" : "empty", x: left + month * box.step, y: box.top + index * 20,
        width: Math.max(box.step - 1, 0.5), height: 19, "fill-opacity": minutes > 0 ? (0.12 + (0.88 * minutes) / most).toFixed(3) : null }))]);
    drawn.push(...monthLabels(box, shown, box.height - 6));
    return card(id, title, true, ...chart(title, box, drawn, (month, row) => `${labels[row]}, ${shown[month]}: ${hours(rows[row][month])} h`),
      html("p", { class: "note" }, `The strongest colour stands for ${hours(most)} h; grey is none.`),
      details(table(title, ["Month", ...labels], shown.map((name, month) => [name, ...rows.map((row) => hours(row[month]))]))));
  }

  function figures({ total, approvals, lists }) {
    const approved = approvals.reduce((sum, part) => sum + (part[data.colours.indexOf("approved")] || 0), 0);
    // Others are one entry more, unless nothing is filtered and all are known.
    const people = chosen.person >= 0 ? 1 : lists.person.filter((each) => each.worklogs).length;
    const folded = data.folded.person && lists.person.at(-1).worklogs;
    const many = !folded ? number(people) : unfiltered() ? number(people - 1 + data.folded.person) : `over ${number(people - 1)}`;
    const pairs = [["hours", hours(total.minutes)], ["billable", billable(total)], ["billable hours", billableHours(total)],
      ...(total.unsaid ? [["hours, not said if billable", hours(total.unsaid)]] : []),
      ["approved", percent(approved, total.minutes)], ["hours not approved", hours(total.minutes - approved)],
      ["people", many], ["worklogs", number(total.worklogs)]];
    return html("dl", { id: "figures", class: "wide" }, ...pairs.map(([name, value]) => html("div", {}, html("dt", {}, name), html("dd", {}, value))));
  }

  const main = document.getElementById("main");
  let paper = 0;
  function update(focus) {
    const found = sumUp();
    const width = paper || main.clientWidth;
    const inside = Math.max(width - 30, 200);
    const busiest = found.people.map((_, code) => code).filter((code) => found.people[code].some((minutes) => minutes > 0) && !(data.folded.person && code === names.person.length - 1)).slice(0, LISTED);
    main.replaceChildren(figures(found), monthsCard(found, inside),
      listCard("people", "Hours by person", "person", found), listCard("categories", "Hours by category", "category", found),
      ...(names.project.length > 1 ? [listCard("projects", "Hours by project", "project", found, true)] : []),
      heatCard("weekdays", "Weekdays", WEEKDAYS, found.weekdays, inside),
      heatCard("presence", "Who worked when", busiest.map((code) => names.person[code]), busiest.map((code) => found.people[code]), inside));
    for (const [name, control] of Object.entries(controls)) control.value = chosen[name];
    const said = FILTERS.flatMap((facet) => chosen[facet] < 0 ? [] : [`${facet}: ${names[facet][chosen[facet]]}`]);
    if (chosen.from || chosen.to < last) said.push(`${names.month[chosen.from]} to ${names.month[chosen.to]}`);
    document.getElementById("chosen").textContent = said.length
      ? `${number(found.total.worklogs)} worklogs, ${hours(found.total.minutes)} hours (${said.join("; ")})` : "";
    if (focus) document.getElementById(focus)?.focus();
  }

  const controls = {};
  function filter(key, all, options) {
    controls[key] = html("select", { id: `filter-${key}`, change: (event) => {
      chosen[key] = Number(event.target.value);
      if (chosen.from > chosen.to) chosen[key === "from" ? "to" : "from"] = chosen[key];
      update();
    } }, all ? html("option", { value: -1 }, all) : null, ...options.map(([code, name]) => html("option", { value: code }, name)));
    return html("label", {}, key, controls[key]);
  }
  const listed = (facet) => names[facet].map((name, code) => [code, name]);
  const byName = (facet) => listed(facet).sort((a, b) => a[1].localeCompare(b[1], "en"));
  if (data.keys.length) {
    document.getElementById("filters").append(
      ...FILTERS.filter((facet) => names[facet].length > 1).map((facet) => filter(facet, facet === "person" ? "everybody" : "all", byName(facet))),
      filter("from", null, listed("month")), filter("to", null, listed("month")),
      html("button", { type: "button", id: "reset", click: () => { Object.assign(chosen, everything); update(); } }, "Reset"));
    update();
    let drawn = main.clientWidth;
    new ResizeObserver(() => {
      if (main.clientWidth !== drawn && !paper) {
        drawn = main.clientWidth;
        update();
      }
    }).observe(main);
    // A4 without its margins, in CSS pixels.
    addEventListener("beforeprint", () => { paper = 700; update(); });
    addEventListener("afterprint", () => { paper = 0; update(); });
  } else {
    main.append(html("p", { class: "wide" }, "There are no worklogs in this selection."));
  }
})();
