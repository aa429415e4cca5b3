(function(){
var table=document.getElementById('verdict'),head=table.tHead.rows[0],bodies=[].slice.call(table.tBodies),sorted=null;
var rows=[].slice.call(table.querySelectorAll('tbody tr:not(.family)')),home=rows.map(function(r){return r.parentNode});
var units={ns:1,'\u00b5s':1e3,ms:1e6,s:1e9};
function value(row,column){
var at=0,cell=null;
for(var i=0;i<row.cells.length&&at<=column;i++){cell=row.cells[i];at+=cell.colSpan}
var text=cell.textContent.trim(),number=parseFloat(text);
return isNaN(number)?text:number*(units[text.split(/\s/)[1]]||1)}
function order(column,down){
var all=rows.slice();
if(column!==null)all.sort(function(a,b){a=value(a,column);b=value(b,column);
var by=typeof a===typeof b?(a<b?-1:a>b?1:0):typeof a==='number'?-1:1;return down?-by:by});
all.forEach(function(r){(column===null?home[rows.indexOf(r)]:bodies[0]).appendChild(r)});
table.classList.toggle('flat',column!==null);show()}
var filter=document.createElement('input');
filter.type='search';filter.placeholder='filter';filter.setAttribute('aria-label','show only rows with these words');
function show(){
var words=filter.value.toLowerCase().split(/\s+/);
rows.forEach(function(r){r.hidden=!words.every(function(w){return r.textContent.toLowerCase().indexOf(w)>=0})});
bodies.forEach(function(b){b.rows[0].hidden=table.classList.contains('flat')||!rows.some(function(r){return r.parentNode===b&&!r.hidden})})}
filter.addEventListener('input',show);
var column=0;
[].forEach.call(head.cells,function(cell){
var button=document.createElement('button'),last=column+cell.colSpan-1,numbers=cell.colSpan>1||cell.classList.contains('num');
column+=cell.colSpan;
button.type='button';button.title='sort';button.textContent=cell.textContent;cell.textContent='';cell.appendChild(button);
button.addEventListener('click',function(){
var state=sorted&&sorted[0]===last?sorted[1]+1:1;
[].forEach.call(head.cells,function(c){c.removeAttribute('aria-sort')});
if(state>2){sorted=null;order(null);return}
sorted=[last,state];
var down=numbers===(state===1);
cell.setAttribute('aria-sort',down?'descending':'ascending');order(last,down)})});
head.cells[0].appendChild(filter)})();
