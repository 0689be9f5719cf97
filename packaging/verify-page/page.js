// The page around `verify.js`: words, the text or photo that somebody gives, and the verdict, which is
// told by a sign, by words and by a color. What is shown is set as text, never as markup. Nothing is
// sent or kept. ECMAScript 5, as `verify.js` is; what only newer browsers have is asked for first.

(function () {
  var WORDS = {
    "zh-Hans": {
      title: "终端证书核对",
      how: "把证书二维码里的文字粘贴到下面，或者选一张照片。不用联网。",
      label: "证书文字（以 KR1: 开头）",
      check: "核对", clear: "清空", photo: "选照片",
      known: "本页有 {count} 台终端的钥匙。",
      none: "请先粘贴证书文字。",
      "no-detector": "这部手机不能从照片里认码。请用手机自带的扫码（微信“扫一扫”也行），复制扫到的文字，粘贴到上面。",
      "no-code": "照片里没有找到二维码。请靠近、摆正、光线亮一点再拍。",
      wait: "正在核对，请等一下……",
      "sign-good": "可以用", "sign-warn": "还不能用", "sign-bad": "不要相信",
      ready: "证书是真的，机器可以使用",
      "not-ready": "证书是真的，但机器还没准备好",
      "certificate.malformed": "这不是完整的证书文字",
      "certificate.malformed-why": "文字可能缺了、多了或者抄错了，请重新扫码复制。",
      "certificate.too-long": "文字太长，不是证书",
      "certificate.too-long-why": "请只粘贴证书二维码里的文字。",
      "certificate.unknown-terminal": "不认得这台终端的钥匙",
      "certificate.unknown-terminal-why": "证书写的是终端 {terminal}，钥匙 {keyId}。本页的名单里没有，不能相信。请向管理单位要新的核对页。",
      "certificate.forged": "假的：签名不对",
      "certificate.forged-why": "证书被改过，或者不是这台终端签的。不要相信，请报告管理单位。",
      "certificate.expired": "证书过期了",
      "certificate.expired-why": "证书最多管一天。请在终端上重新出一张；也请看看手机时间对不对。",
      "certificate.not-yet-valid": "证书的时间在将来",
      "certificate.not-yet-valid-why": "终端或者手机的时间不对。请先对好时间。",
      terminal: "终端", site: "地点", issuedAt: "出证时间", validUntil: "有效到",
      tests: "检测", "tests-value": "通过 {passed} 项，不通过 {failed} 项，没做 {notRun} 项",
      openFaults: "未修好的故障", "no-faults": "没有", program: "程序版本",
      programDigest: "程序摘要", configurationDigest: "配置摘要", itemsDigest: "事项摘要",
      reportDigest: "检测结果摘要", audit: "日志位置"
    },
    "zh-Hant": {
      title: "終端證書核對",
      how: "將證書二維碼內的文字貼到下面，或選擇一張相片。無須上網。",
      label: "證書文字（以 KR1: 開頭）",
      check: "核對", clear: "清除", photo: "選擇相片",
      known: "本頁有 {count} 部終端的密鑰。",
      none: "請先貼上證書文字。",
      "no-detector": "這部手機未能從相片讀取二維碼。請用手機本身的掃描功能（微信「掃一掃」亦可），複製所得文字，再貼到上面。",
      "no-code": "相片內找不到二維碼。請靠近、擺正，在光線充足的地方再拍。",
      wait: "正在核對，請稍候……",
      "sign-good": "可以使用", "sign-warn": "未能使用", "sign-bad": "不可相信",
      ready: "證書真確，機器可以使用",
      "not-ready": "證書真確，但機器尚未準備好",
      "certificate.malformed": "這不是完整的證書文字",
      "certificate.malformed-why": "文字可能有缺漏、多餘或抄錯，請重新掃描並複製。",
      "certificate.too-long": "文字太長，不是證書",
      "certificate.too-long-why": "請只貼上證書二維碼內的文字。",
      "certificate.unknown-terminal": "不認得這部終端的密鑰",
      "certificate.unknown-terminal-why": "證書所寫的是終端 {terminal}，密鑰 {keyId}。本頁名單上沒有，不可相信。請向管理單位索取新的核對頁。",
      "certificate.forged": "偽造：簽名不符",
      "certificate.forged-why": "證書曾被更改，或並非由這部終端簽署。不要相信，請報告管理單位。",
      "certificate.expired": "證書已過期",
      "certificate.expired-why": "證書最多有效一天。請在終端重新發出；亦請檢查手機時間是否正確。",
      "certificate.not-yet-valid": "證書的時間在將來",
      "certificate.not-yet-valid-why": "終端或手機的時間不正確。請先校正時間。",
      terminal: "終端", site: "地點", issuedAt: "發出時間", validUntil: "有效至",
      tests: "檢測", "tests-value": "通過 {passed} 項，不通過 {failed} 項，未做 {notRun} 項",
      openFaults: "未修好的故障", "no-faults": "沒有", program: "程式版本",
      programDigest: "程式摘要", configurationDigest: "配置摘要", itemsDigest: "事項摘要",
      reportDigest: "檢測結果摘要", audit: "日誌位置"
    },
    en: {
      title: "Check a terminal's certificate",
      how: "Paste the text of the certificate's QR code below, or pick a photo. No network is needed.",
      label: "Text of the certificate (begins with KR1:)",
      check: "Check", clear: "Clear", photo: "Pick a photo",
      known: "Terminals whose keys are in this page: {count}.",
      none: "Paste the text of the certificate first.",
      "no-detector": "This phone cannot read codes in photos. Scan the code with the phone's own scanner, copy the text and paste it above.",
      "no-code": "No QR code was found in the photo. Come closer, hold it straight, use more light.",
      wait: "Checking, please wait…",
      "sign-good": "Ready", "sign-warn": "Not ready", "sign-bad": "Do not trust",
      ready: "Genuine, and the terminal is ready",
      "not-ready": "Genuine, but the terminal is not ready",
      "certificate.malformed": "This is not the whole text of a certificate",
      "certificate.malformed-why": "Something is missing, added or mistyped. Scan and copy it again.",
      "certificate.too-long": "Too long for a certificate",
      "certificate.too-long-why": "Paste the text of the certificate's QR code only.",
      "certificate.unknown-terminal": "The terminal's key is not known",
      "certificate.unknown-terminal-why": "It names terminal {terminal} and key {keyId}, which are not on the list of this page. Do not trust it; ask the office for a new page.",
      "certificate.forged": "Forged: the signature does not fit",
      "certificate.forged-why": "It was altered, or this terminal did not sign it. Do not trust it; report it to the office.",
      "certificate.expired": "The certificate is over",
      "certificate.expired-why": "It holds for a day at most. Let the terminal issue a new one, and see that the time of this phone is right.",
      "certificate.not-yet-valid": "The certificate is dated in the future",
      "certificate.not-yet-valid-why": "The clock of the terminal or of this phone is wrong. Set it first.",
      terminal: "Terminal", site: "Place", issuedAt: "Issued", validUntil: "Valid until",
      tests: "Tests", "tests-value": "{passed} passed, {failed} failed, {notRun} not run",
      openFaults: "Open faults", "no-faults": "none", program: "Program version",
      programDigest: "Digest of the program", configurationDigest: "Digest of the configuration",
      itemsDigest: "Digest of the items", reportDigest: "Digest of the test results", audit: "Place in the log"
    }
  };

  var find = function (id) { return document.getElementById(id); };
  var keys = JSON.parse(find("keys").textContent);
  var lang = "zh-Hans";
  var shown = null;
  var hint = null;

  function word(name, values) {
    return WORDS[lang][name].replace(/\{(\w+)\}/g, function (all, key) {
      return values && values[key] !== undefined ? String(values[key]) : all;
    });
  }

  // What a browser gives as a list is not always an array.
  function each(selector, what) {
    Array.prototype.forEach.call(document.querySelectorAll(selector), what);
  }

  function child(parent, tag, text, kind) {
    var element = document.createElement(tag);
    element.textContent = text;
    if (kind) element.className = kind;
    parent.appendChild(element);
    return element;
  }

  function timeOf(seconds) {
    var at = new Date(seconds * 1000);
    var two = function (value) { return (value < 10 ? "0" : "") + value; };
    return at.getFullYear() + "-" + two(at.getMonth() + 1) + "-" + two(at.getDate()) + " " +
      two(at.getHours()) + ":" + two(at.getMinutes());
  }

  function groups(digest) {
    return digest.replace(/(.{8})(?=.)/g, "$1 ");
  }

  function rows(readiness) {
    var faults = readiness.openFaults.length === 0 ? word("no-faults") : readiness.openFaults.join(", ");
    return [
      ["terminal", readiness.terminal], ["site", readiness.site],
      ["issuedAt", timeOf(readiness.issuedAt)], ["validUntil", timeOf(readiness.validUntil)],
      ["tests", word("tests-value", readiness)], ["openFaults", faults], ["program", readiness.program],
      ["programDigest", groups(readiness.programDigest), "digest"],
      ["configurationDigest", groups(readiness.configurationDigest), "digest"],
      ["itemsDigest", groups(readiness.itemsDigest), "digest"],
      ["reportDigest", groups(readiness.reportDigest), "digest"],
      ["audit", readiness.auditSequence + ": " + groups(readiness.auditHead), "digest"]
    ];
  }

  function render() {
    document.documentElement.lang = lang;
    document.title = word("title");
    each("[data-word]", function (element) {
      element.textContent = word(element.getAttribute("data-word"));
    });
    each("[data-lang]", function (button) {
      button.setAttribute("aria-pressed", String(button.getAttribute("data-lang") === lang));
    });
    var terminals = {};
    keys.forEach(function (entry) { terminals["of " + entry.terminal] = true; });
    find("known").textContent = word("known", { count: Object.keys(terminals).length });
    find("hint").textContent = hint === null ? "" : word(hint);
    var result = find("result");
    result.textContent = "";
    result.className = "";
    if (shown === null) return;
    var isValid = shown.code === "valid";
    var kind = !isValid ? "bad" : shown.readiness.isReady ? "good" : "warn";
    var signs = { good: "✔", warn: "！", bad: "✘" };
    result.className = kind;
    child(result, "p", signs[kind] + " " + word("sign-" + kind), "sign");
    if (isValid) {
      child(result, "h2", word(kind === "good" ? "ready" : "not-ready"));
      var list = child(result, "dl", "");
      rows(shown.readiness).forEach(function (row) {
        child(list, "dt", word(row[0]));
        child(list, "dd", row[1], row[2]);
      });
    } else {
      child(result, "h2", word(shown.code));
      child(result, "p", word(shown.code + "-why", shown.detail));
    }
  }

  function check() {
    // A form may break a long text into lines; no line end belongs to a certificate.
    var text = find("text").value.replace(/[\r\n\t]/g, "");
    if (text.trim() === "") {
      say("none");
      return;
    }
    say("wait");
    // Old telephones take seconds; the words are to be seen before.
    setTimeout(function () {
      shown = Certificate.verify(text, keys, Math.floor(Date.now() / 1000));
      hint = null;
      render();
    }, 50);
  }

  function say(name) {
    shown = null;
    hint = name;
    render();
  }

  function pick(event) {
    var file = event.target.files[0];
    event.target.value = "";
    if (!file) return;
    if (typeof BarcodeDetector === "undefined" || typeof createImageBitmap === "undefined") {
      say("no-detector");
      return;
    }
    createImageBitmap(file)
      .then(function (picture) { return new BarcodeDetector({ formats: ["qr_code"] }).detect(picture); })
      .then(function (codes) {
        if (codes.length === 0) {
          say("no-code");
          return;
        }
        find("text").value = codes[0].rawValue;
        check();
      })
      .then(null, function () { say("no-detector"); });
  }

  each("[data-lang]", function (button) {
    button.addEventListener("click", function () {
      lang = button.getAttribute("data-lang");
      render();
    });
  });
  find("clear").addEventListener("click", function () {
    find("text").value = "";
    say(null);
  });
  find("check").addEventListener("click", check);
  find("photo").addEventListener("change", pick);
  render();
})();
