// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text.Json.Serialization;

namespace KimiCpu.Tests.Architecture;

/// <summary>
/// Writes what others can compile against, a line for each type and each member: what they are called, take and give, with nullability, defaults and the values of constants, since each
/// of them is baked into others' programs or changes what these compile.
/// </summary>
internal sealed class PublicSurface
{
    private const BindingFlags Declared = BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly;

    private static readonly Dictionary<Type, string> s_keywords = new()
    {
        [typeof(void)] = "void",
        [typeof(object)] = "object",
        [typeof(string)] = "string",
        [typeof(bool)] = "bool",
        [typeof(byte)] = "byte",
        [typeof(char)] = "char",
        [typeof(int)] = "int",
        [typeof(uint)] = "uint",
        [typeof(long)] = "long",
        [typeof(ulong)] = "ulong",
        [typeof(float)] = "float",
        [typeof(double)] = "double",
        [typeof(decimal)] = "decimal",
    };

    private readonly NullabilityInfoContext _nullability = new();

    public static IEnumerable<string> Of(Assembly assembly)
    {
        var surface = new PublicSurface();
        yield return $"# {assembly.GetName().Name}";
        foreach (Type type in assembly.GetExportedTypes().OrderBy(t => t.FullName, StringComparer.Ordinal))
        {
            yield return surface.Describe(type);
            foreach ((_, string member) in surface.MembersOf(type).OrderBy(m => m.Name, StringComparer.Ordinal).ThenBy(m => m.Text, StringComparer.Ordinal))
            {
                yield return $"    {member}";
            }
        }
    }

    private string Describe(Type type)
    {
        string kind = type.IsEnum ? "enum"
            : type.IsInterface ? "interface"
            : typeof(Delegate).IsAssignableFrom(type) ? "delegate"
            : $"{(type.IsValueType && type.IsDefined(typeof(IsReadOnlyAttribute)) ? "readonly " : "")}{(IsRecord(type) ? "record " : "")}{(type.IsValueType ? "struct" : "class")}";
        string modifiers = type.IsInterface || type.IsValueType ? "" : type is { IsAbstract: true, IsSealed: true } ? "static " : type.IsAbstract ? "abstract " : type.IsSealed ? "sealed " : "";
        IEnumerable<Type> inherited = type.BaseType is { } b && b != typeof(object) && b != typeof(ValueType) && b != typeof(Enum) ? [b] : [];
        string[] bases = [.. (type.IsEnum ? [Enum.GetUnderlyingType(type)] : inherited.Concat(type.GetInterfaces().Where(i => i.IsVisible))).Select(NameOf).Order(StringComparer.Ordinal)];
        string space = type.DeclaringType is null ? $"{type.Namespace}." : $"{type.DeclaringType.FullName}.";
        return $"{modifiers}{kind} {space}{NameOf(type)}{(bases.Length > 0 ? $" : {string.Join(", ", bases)}" : "")}{Constraints(type.GetGenericArguments())}";
    }

    private IEnumerable<(string Name, string Text)> MembersOf(Type type)
    {
        if (typeof(Delegate).IsAssignableFrom(type))
        {
            return [("Invoke", Describe(type.GetMethod("Invoke")!))];
        }

        // An SDK writes these, each in its own way.
        if (typeof(JsonSerializerContext).IsAssignableFrom(type))
        {
            return [];
        }

        return
        [
            .. type.GetConstructors(Declared).Where(c => !c.IsStatic && IsVisible(c) && IsWritten(c)).Select(c => ("", $"{Access(c)}new({Parameters(c)})")),
            .. type.GetFields(Declared).Where(f => (f.IsPublic || f.IsFamily || f.IsFamilyOrAssembly) && !f.IsSpecialName).Select(f => (f.Name, Describe(f))),
            .. type.GetProperties(Declared).Where(p => p.GetAccessors(nonPublic: true).Any(IsVisible) && p.Name != "EqualityContract").Select(p => (p.Name, Describe(p))),
            .. type.GetEvents(Declared).Where(e => IsVisible(e.AddMethod!)).Select(e => (e.Name, $"{Modifiers(e.AddMethod!)}event {NameOf(e.EventHandlerType!)} {e.Name}")),
            .. type.GetMethods(Declared).Where(m => IsVisible(m) && IsWritten(m)).Select(m => (m.Name, Describe(m))),
        ];
    }

    private string Describe(FieldInfo field)
    {
        string modifiers = field.IsLiteral ? "const " : $"{(field.IsStatic ? "static " : "")}{(field.IsInitOnly ? "readonly " : "")}";
        return $"{modifiers}{NameOf(_nullability.Create(field))} {field.Name}{(field.IsLiteral ? $" = {Value(field.GetRawConstantValue())}" : "")}";
    }

    private string Describe(PropertyInfo property)
    {
        MethodInfo any = property.GetAccessors(nonPublic: true).First(IsVisible);
        string accessors = string.Concat(property.GetAccessors(nonPublic: true).Where(IsVisible).Select(a => $" {Access(a)}{(a == property.GetMethod ? "get" : IsInit(a) ? "init" : "set")};").Order(StringComparer.Ordinal));
        string required = property.IsDefined(typeof(RequiredMemberAttribute)) ? "required " : "";
        string index = property.GetIndexParameters() is { Length: > 0 } ? $"[{Parameters(any)}]" : "";
        return $"{Modifiers(any)}{required}{NameOf(_nullability.Create(property))} {property.Name}{index} {{{accessors} }}";
    }

    private string Describe(MethodInfo method)
    {
        string extension = method.IsDefined(typeof(ExtensionAttribute)) ? "this " : "";
        string arguments = method.IsGenericMethod ? $"<{string.Join(", ", method.GetGenericArguments().Select(NameOf))}>" : "";
        return $"{Access(method)}{Modifiers(method)}{NameOf(_nullability.Create(method.ReturnParameter))} {method.Name}{arguments}({extension}{Parameters(method)}){Constraints(method.GetGenericArguments())}";
    }

    private string Parameters(MethodBase method) => string.Join(", ", method.GetParameters().Select(p =>
    {
        string way = p.IsOut ? "out " : p.IsIn && p.ParameterType.IsByRef ? "in " : p.ParameterType.IsByRef ? "ref " : p.IsDefined(typeof(ParamArrayAttribute)) || p.IsDefined(typeof(ParamCollectionAttribute)) ? "params " : "";
        string standard = !p.HasDefaultValue ? "" : $" = {(p.RawDefaultValue is null && p.ParameterType.IsValueType ? "default" : Value(p.RawDefaultValue))}";
        return $"{way}{NameOf(_nullability.Create(p))} {p.Name}{standard}";
    }));

    private static string Constraints(Type[] arguments) => string.Concat(arguments.Where(a => a.IsGenericParameter).Select(a =>
    {
        GenericParameterAttributes special = a.GenericParameterAttributes & GenericParameterAttributes.SpecialConstraintMask;
        string[] all = [.. special == 0 ? [] : new[] { $"{special}" }, .. a.GetGenericParameterConstraints().Select(NameOf)];
        return all.Length > 0 ? $" where {a.Name} : {string.Join(", ", all)}" : "";
    }));

    private static string NameOf(NullabilityInfo info)
    {
        Type type = info.Type.IsByRef ? info.Type.GetElementType()! : info.Type;
        string mark = !type.IsValueType && info.ReadState == NullabilityState.Nullable ? "?" : "";
        if (info.ElementType is { } element && type.IsArray)
        {
            return $"{NameOf(element)}[]{mark}";
        }

        bool isNullable = Nullable.GetUnderlyingType(type) is not null;
        return info.GenericTypeArguments.Length == 0 || isNullable
            ? NameOf(type) + mark
            : $"{Bare(type)}<{string.Join(", ", info.GenericTypeArguments.Select(NameOf))}>{mark}";
    }

    private static string NameOf(Type type) => s_keywords.TryGetValue(type, out string? keyword) ? keyword
        : type.IsByRef ? NameOf(type.GetElementType()!)
        : type.IsArray ? $"{NameOf(type.GetElementType()!)}[]"
        : Nullable.GetUnderlyingType(type) is { } inner ? $"{NameOf(inner)}?"
        : type.IsGenericType ? $"{Bare(type)}<{string.Join(", ", type.GetGenericArguments().Select(NameOf))}>"
        : type.Name;

    private static string Bare(Type type) => type.Name.Split('`')[0];

    private static string Value(object? value) => value switch
    {
        null => "null",
        string text => $"\"{text}\"",
        bool flag => flag ? "true" : "false",
        _ => Convert.ToString(value, CultureInfo.InvariantCulture)!,
    };

    private static string Access(MethodBase method) => method.IsPublic ? "" : "protected ";

    private static string Modifiers(MethodInfo method) =>
        method.IsStatic ? "static " : method.DeclaringType!.IsInterface ? "" : method.GetBaseDefinition() != method ? "override " : method.IsAbstract ? "abstract " : method is { IsVirtual: true, IsFinal: false } ? "virtual " : "";

    private static bool IsVisible(MethodBase method) => method.IsPublic || ((method.IsFamily || method.IsFamilyOrAssembly) && !method.DeclaringType!.IsSealed);

    /// <summary>Accessors are told by their properties, and what the compiler adds to a record by that it is one.</summary>
    private static bool IsWritten(MethodBase method) =>
        !method.IsDefined(typeof(CompilerGeneratedAttribute)) && (!method.IsSpecialName || method.IsConstructor || method.Name.StartsWith("op_", StringComparison.Ordinal));

    private static bool IsInit(MethodInfo setter) => setter.ReturnParameter.GetRequiredCustomModifiers().Contains(typeof(IsExternalInit));

    private static bool IsRecord(Type type) => type.GetMethod("<Clone>$", Declared) is not null || (type.IsValueType && type.GetMethod("PrintMembers", Declared)?.IsDefined(typeof(CompilerGeneratedAttribute)) == true);
}
